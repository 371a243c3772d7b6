// Children of one net as dots: across what a search sees of them, upwards what they reach after training alone.
// Pointing at a dot draws its cells and judges all its pairs: those ranked wrongly take the colour of a turned knob.

const SCATTER = { left: 46, right: 14, top: 18, bottom: 40, height: 380 };
const WAYS = { stale: "statistics as inherited", recalibrated: "recalibrated" };

function rankingView(model) {
  const shown = () => model.get("shown");
  const choose = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
    update();
  };
  const across = () => shown().sources.find(({ key }) => key === model.get("source")) ?? shown().sources[0];
  const way = () => across().ways[model.get("how")] ?? Object.values(across().ways)[0];
  let pointed = -1, width = 0;
  const looked = () => (pointed >= 0 ? pointed : model.get("child"));

  const title = make("h1"), by = make("select", { "aria-label": "ranked by" });
  const ways = make("div", { class: "chips", role: "group", "aria-label": "batch norm" });
  const scales = make("div", { class: "chips", role: "group", "aria-label": "axes" });
  const told = make("p", { class: "notice", "aria-live": "polite" });
  const svg = draw("svg", { tabindex: 0, role: "slider", "aria-label": "children, from the worst to the best ranked" });
  const plot = make("div", { class: "plot" }, svg);
  const card = make("div", { class: "card" }), facts = make("div", { class: "facts" });
  const root = make("div", { class: "nasviz ranking", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "ranking of children" },
      make("div", { class: "row" }, title, make("span", { class: "grow" }), make("label", { class: "bar" }, "ranked by", by)),
      make("div", { class: "bar" }, ways, make("span", { class: "grow" }), scales),
      told, make("div", { class: "sides" }, plot, card)));
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  by.addEventListener("change", () => choose({ source: by.value }));

  const chip = (group, text, act) => {
    const node = make("button", { type: "button", class: "chip", text });
    node.addEventListener("click", act);
    group.append(node);
    return node;
  };
  const wayChips = Object.entries(WAYS).map(([how, label]) => [how, chip(ways, label, () => choose({ how }))]);
  const scaleChips = [["accuracy", false], ["ranks", true]].map(([label, ranks]) => [ranks, chip(scales, label, () => choose({ ranks }))]);

  const [lattice, names, best, cross, dots] = ["lattice", "names", "best", "cross", "dots"].map((name) => draw("g", { class: name }));
  const [sideways, upwards, hits] = [draw("text", { class: "soft", "text-anchor": "middle" }), draw("text", { class: "soft" }), draw("text", { class: "hits" })];
  svg.append(lattice, names, best, cross, dots, sideways, upwards, hits);
  const lines = make("h2"), right = make("span"), wrong = make("b"), tied = make("span");
  const seen = make("p"), alone = make("p"), pairs = make("p", {}, right, wrong, tied);
  facts.append(lines, seen, alone, pairs);
  const keys = make("div", { class: "legend" });
  const history = draw("svg", { class: "history", viewBox: "0 0 260 92", role: "img", "aria-label": "τ so far" });
  let cells = [], built = "";

  function build() {
    const { skeletons, cellNames, truth, ops, labels, colours } = shown();
    const key = skeletons.length + skeletons[0];
    if (key !== built) {
      cells = skeletons.map((markup, cell) => {
        const box = make("div", { class: "drawing" });
        box.innerHTML = markup;  // written by nasviz.svg; names in it are escaped there
        for (const edge of box.querySelectorAll(".edge")) set(edge, { tabindex: null, role: null });
        return { box, name: make("h3", { text: cellNames[cell] }), element: null };
      });
      for (const each of cells) each.element = make("div", {}, each.name, each.box);
      keys.replaceChildren(...ops.map((op, k) => make("span", {}, draw("svg", { viewBox: "0 0 16 4", "aria-hidden": "true" }, draw("path",
        { d: "M0,2H16", stroke: colours[k], "stroke-width": 4, "stroke-dasharray": op === "none" ? "3 3" : null })), labels[k])));
      card.replaceChildren(facts, ...cells.map(({ element }) => element), keys, history);
      built = key;
    }
    if (dots.childElementCount !== truth.length) {
      dots.replaceChildren(...truth.map((_, n) => {
        const dot = draw("circle", { r: 5 });
        dot.addEventListener("pointerenter", () => { pointed = n; update(); });
        dot.addEventListener("pointerleave", () => { pointed = -1; update(); });
        dot.addEventListener("click", () => choose({ child: model.get("child") === n ? -1 : n }));
        return dot;
      }));
    }
  }

  new ResizeObserver(([entry]) => { width = entry.contentRect.width; update(); }).observe(plot);

  // Left and right go through the children as they are ranked, Enter keeps one, Escape lets it go.
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const values = way().values, order = values.map((_, n) => n).sort((a, b) => values[a] - values[b] || a - b);
    const here = order.indexOf(looked()), last = order.length - 1;
    const to = { ArrowLeft: here < 0 ? last : Math.max(here - 1, 0), ArrowRight: here < 0 ? 0 : Math.min(here + 1, last), Home: 0, End: last }[event.key];
    if (to == null && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    pointed = -1;
    choose({ child: to == null ? -1 : order[to] });
  });

  function place(values, ends, from, to) {
    return values.map((value) => from + (value - ends[0]) / (ends[1] - ends[0]) * (to - from));
  }

  function update() {
    const data = shown(), { truth, top } = data, values = way().values, n = truth.length;
    build();
    set(title, { text: data.title });
    const known = data.sources.map(({ key }) => key).join();
    if (by.dataset.known !== known) by.replaceChildren(...data.sources.map(({ key, label }) => make("option", { value: key, text: label })));
    by.dataset.known = known;
    by.value = across().key;
    show(by.parentElement, data.sources.length > 1);
    const both = Object.keys(across().ways).length > 1;
    show(ways, both);
    for (const [how, node] of wayChips) mark(node, both && how === model.get("how"));
    for (const [ranks, node] of scaleChips) mark(node, ranks === model.get("ranks"));
    set(told, { text: way().text });
    Object.assign(root.dataset, { source: across().key, how: model.get("how"), child: looked(), tau: way().tau.toFixed(3) });
    if (width < 180) return;

    const box = { left: SCATTER.left, right: width - SCATTER.right, top: SCATTER.top, bottom: SCATTER.height - SCATTER.bottom };
    const ranks = model.get("ranks"), rankEnds = [n + 0.6, 0.4], step = n > 30 ? 10 : n > 12 ? 5 : 2;
    const rankMarks = [1, ...Array.from({ length: Math.floor(n / step) }, (_, k) => (k + 1) * step)];
    const [xs, ys] = ranks ? [rankOf(values), rankOf(truth)] : [values, truth];
    const [xEnds, yEnds] = ranks ? [rankEnds, rankEnds] : [across().range, data.truthRange];
    const [xMarks, yMarks] = ranks ? [rankMarks, rankMarks] : [across().ticks, data.truthTicks];
    const px = place(xs, xEnds, box.left + 6, box.right - 6), py = place(ys, yEnds, box.bottom - 6, box.top + 6);
    set(svg, { viewBox: `0 0 ${width} ${SCATTER.height}`, height: SCATTER.height });
    const level = (value) => place([value], yEnds, box.bottom - 6, box.top + 6)[0];
    gridLines(lattice, yMarks, level, box);
    names.replaceChildren(...xMarks.map((value) => draw("text", { class: "soft", "text-anchor": "middle", y: box.bottom + 16,
      x: place([value], xEnds, box.left + 6, box.right - 6)[0].toFixed(1), text: brief(value) })));
    const unit = ranks ? "rank" : across().unit === "share" ? "accuracy on valid" : "count";
    set(sideways, { x: (box.left + box.right) / 2, y: SCATTER.height - 6, text: `${unit} · ${across().label}${both ? `, ${WAYS[model.get("how")]}` : ""}` });
    set(upwards, { x: 4, y: 10, text: ranks ? "rank, trained alone" : "accuracy on test, trained alone" });

    const edges = [border(px, values, top), border(py, truth, top)];
    best.replaceChildren(draw("path", { d: `M${edges[0].toFixed(1)},${box.top}V${box.bottom}M${box.left},${edges[1].toFixed(1)}H${box.right}` }));
    set(hits, { x: box.right, y: 10, "text-anchor": "end", text: `the ${top} best by both ↓` });

    const child = looked(), held = child >= 0 && child < n;
    const judged = truth.map((y, m) => (held && m !== child ? Math.sign(values[m] - values[child]) * Math.sign(y - truth[child]) : null));
    cross.replaceChildren(...(held ? [draw("path", { d: `M${px[child].toFixed(1)},${box.top}V${box.bottom}M${box.left},${py[child].toFixed(1)}H${box.right}` })] : []));
    [...dots.children].forEach((dot, m) => {
      dot.style.transform = `translate(${px[m].toFixed(1)}px,${py[m].toFixed(1)}px)`;
      set(dot, { r: m === child ? 7 : 5, class: m === child ? "here" : judged[m] < 0 ? "wrong" : judged[m] === 0 ? "tied" : null });
    });
    const count = (sign) => judged.filter((one) => one === sign).length;
    card.classList.toggle("empty", !held);
    if (held) {
      const number = (value) => (across().unit === "share" ? value.toFixed(3).replace(/^0/, "") : brief(value));
      set(lines, { text: `child ${data.names[child]} · ${brief(data.parameters[child])} parameters` });
      set(seen, { text: `${number(values[child])}, rank ${rankOf(values)[child]} of ${n}, by ${across().label}` });
      set(alone, { text: `${truth[child].toFixed(3).replace(/^0/, "")}, rank ${rankOf(truth)[child]} of ${n}, trained alone` });
      set(right, { text: `${count(1)} of its ${n - 1} pairs ranked rightly, ` });
      set(wrong, { text: `${count(-1)} wrongly` });
      set(tied, { text: count(0) ? `, ${count(0)} tie` : "" });
    } else {
      set(lines, { text: "point at a dot" });
      set(seen, { text: "Its cells are drawn here. Click to keep it; arrow keys go through all children." });
      for (const node of [alone, right, wrong, tied]) set(node, { text: "" });
    }
    set(svg, { "aria-valuemin": 0, "aria-valuemax": n, "aria-valuenow": held ? n + 1 - rankOf(values)[child] : 0,
               "aria-valuetext": held ? `${lines.textContent}; ${seen.textContent}; ${alone.textContent}` : "no child" });
    show(keys, held);
    cells.forEach(({ box: drawing, element }, cell) => {
      show(element, held);
      if (held) paintChild(drawing, data.children[child][cell], data);
    });
    paintHistory(history, data);
  }
  return { root, update };
}

function mark(node, on) {
  node.classList.toggle("on", on);
  set(node, { "aria-pressed": String(on) });
}

// Ranks from 1, the largest value; equal values share the mean of their ranks.
function rankOf(values) {
  return values.map((value) => 1 + values.filter((other) => other > value).length + (values.filter((other) => other === value).length - 1) / 2);
}

// Half way between the last of the `top` best and the next, in pixels.
function border(pixels, values, top) {
  const order = values.map((_, n) => n).sort((a, b) => values[b] - values[a]);
  return order.length > top ? (pixels[order[top - 1]] + pixels[order[top]]) / 2 : pixels[order[top - 1]];
}

// The child's own operations thick; all others of the supernet as faint as can be.
function paintChild(drawing, chosen, { ops, none }) {
  for (const edge of drawing.querySelectorAll(".edge")) {
    const own = chosen[Number(edge.dataset.edge)];
    edge.classList.toggle("left-out", own === none);
    for (const strand of edge.querySelectorAll(".strand")) {
      const on = strand.dataset.op === ops[own];
      strand.style.strokeWidth = !on ? 0.6 : own === none ? 1.2 : 5;
      strand.style.strokeOpacity = on ? 1 : 0.22;
    }
  }
}

// τ against the step of the training, where there is one.
function paintHistory(svg, { history = null, steps }) {
  show(svg, history);
  if (!history) return;
  const x = (step) => 30 + step / steps * 222, y = (tau) => 74 - clamp((tau + 0.2) / 1.2, 0, 1) * 60;
  const grid = [0, 0.5, 1].flatMap((tau) => [draw("path", { class: "grid", d: `M30,${y(tau)}H252` }),
    draw("text", { class: "soft", x: 25, y: y(tau) + 4, "text-anchor": "end", text: tau })]);
  const d = history.map(([step, tau], k) => `${k ? "L" : "M"}${x(step).toFixed(1)},${y(tau).toFixed(1)}`).join("");
  svg.replaceChildren(...grid, draw("path", { class: "curve", d }),
    ...history.map(([step, tau]) => draw("circle", { class: "dot", r: 2.6, cx: x(step), cy: y(tau) })),
    draw("text", { class: "soft", x: 30, y: 89, text: `τ, recalibrated, of ${steps} steps` }));
}

export default {
  render({ model, el }) {
    const { root, update } = rankingView(model);
    el.append(root);
    const names = ["shown", "source", "how", "child", "ranks"];
    for (const name of names) model.on(`change:${name}`, update);
    update();
    return () => { for (const name of names) model.off(`change:${name}`, update); };
  },
};
