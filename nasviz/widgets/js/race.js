// The race: curves by updates, CPU seconds or images, a line where everybody is read and one that is to be reached.
// Ink and dashes tell entrants apart, and pointing at one; the table says who had how much, and who won.

const RACE = { left: 46, top: 20, bottom: 40, height: 350 };

function raceView(model) {
  const send = (name, payload = {}) => model.send({ kind: "command", name, payload });
  const shown = () => model.get("shown"), status = () => model.get("status");
  const busy = () => ["starting", "running"].includes(status().state);
  const focus = { pointed: "", pinned: "" };  // the entrant that stands out
  const point = (name) => { if (focus.pointed !== name) { focus.pointed = name; update(); } };
  const pin = (name) => { focus.pinned = focus.pinned === name ? "" : name; update(); };
  const plot = racePlot(shown, status, focus, point, pin, (line, value) => send("read", { [line]: value }));

  const title = make("h1"), state = make("span", { class: "pill state" });
  const metric = make("select", { "aria-label": "metric" }), axes = make("div", { class: "chips", role: "group", "aria-label": "over what" });
  const said = make("p", { class: "notice said", "aria-live": "polite" }), notes = make("ul", { class: "note notes" });
  const head = make("thead"), body = make("tbody"), table = make("table", { class: "standings" }, head, body);
  const trouble = make("div", { class: "trouble", role: "alert" });
  const against = make("select", { "aria-label": "compared with" });
  metric.addEventListener("change", () => send("choose", { metric: metric.value }));
  against.addEventListener("change", () => send("choose", { against: against.value }));

  const starter = raceStarter(shown, status, busy, send);
  const root = make("div", { class: "nasviz race", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "race" },
      make("div", { class: "bar" }, title, state, make("span", { class: "grow" }), axes, metric),
      plot.element, said, make("div", { class: "scroll" }, table),
      make("div", { class: "bar" }, make("label", { class: "bar note" }, "compared with", against)),
      make("details", { open: true }, make("summary", { text: "Is it fair?" }), notes), starter.element, trouble));
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));

  function rowOf(cells, ground) {
    const [name, ...rest] = cells;
    const row = make("tr", { class: ground ? "ground" : "" }, make("th", { scope: "row", text: name }), ...rest.map((text) => make("td", { text })));
    row.dataset.name = name;
    row.addEventListener("pointerenter", () => point(name));
    row.addEventListener("pointerleave", () => point(""));
    row.addEventListener("click", () => pin(name));
    return row;
  }

  function update() {
    const data = shown(), now = status();
    set(title, { text: data.title });
    set(state, { "data-state": now.state, text: { finished: "done" }[now.state] ?? now.state });
    raceChoices(metric, data.metrics, data.metric);
    raceChoices(against, now.names.map((name) => [name, name]), now.against);
    if (axes.childElementCount !== data.axes.length) {
      axes.replaceChildren(...data.axes.map(([name, text]) => {
        const chip = make("button", { type: "button", class: "chip", text });
        chip.dataset.axis = name;
        chip.addEventListener("click", () => send("choose", { x: name }));
        return chip;
      }));
    }
    for (const chip of axes.children) {
      chip.classList.toggle("on", chip.dataset.axis === data.axis);
      set(chip, { "aria-pressed": String(chip.dataset.axis === data.axis) });
    }
    set(said, { text: now.said });
    const key = JSON.stringify([now.columns, now.rows]);
    if (table.dataset.key !== key) {
      head.replaceChildren(make("tr", {}, ...now.columns.map((text) => make("th", { scope: "col", text }))));
      body.replaceChildren(...now.rows.map((cells) => rowOf(cells, cells[0] === now.against)));
      table.dataset.key = key;
    }
    for (const row of body.children) row.classList.toggle("on", row.dataset.name === (focus.pointed || focus.pinned));
    if (notes.dataset.key !== now.notes.join()) notes.replaceChildren(...now.notes.map((text) => make("li", { text })));
    notes.dataset.key = now.notes.join();
    set(trouble, { text: now.error ?? "" });
    starter.update();
    plot.update();
    Object.assign(root.dataset, { state: now.state, entrants: data.entrants.length, axis: data.axis });
  }
  return { root, update };
}

function raceChoices(select, pairs, chosen) {
  const known = JSON.stringify(pairs);
  if (select.dataset.known !== known) select.replaceChildren(...pairs.map(([name, label]) => make("option", { value: name, text: label })));
  select.dataset.known = known;
  select.value = chosen;
}

// Which methods to race, how many seeds of each, and in which order; a bar while they are on.
function raceStarter(shown, status, busy, send) {
  const chips = make("div", { class: "chips", role: "group", "aria-label": "methods" });
  const seeds = make("input", { type: "number", min: 1, max: 32, value: 1, "aria-label": "seeds" });
  const epochs = make("input", { type: "number", min: 1, "aria-label": "epochs" });
  const order = make("select", { "aria-label": "order" });
  const start = make("button", { type: "button", class: "btn main", text: "Race live" }), stop = make("button", { type: "button", class: "btn", text: "Stop" });
  const text = make("span", { class: "note", role: "status" }), done = make("div", { class: "progress" }, make("i"));
  const chosen = new Set();
  start.addEventListener("click", () => send("start", {
    methods: [...chosen], seeds: Number(seeds.value), epochs: epochs.value ? Number(epochs.value) : null, order: order.value }));
  stop.addEventListener("click", () => send("stop"));
  const element = make("details", { class: "starter" }, make("summary", { text: "Race live" }),
    make("div", { class: "bar" }, chips),
    make("div", { class: "bar" }, make("label", { class: "bar" }, "seeds", seeds), make("label", { class: "bar" }, "epochs", epochs), order, start, stop, text), done);

  function update() {
    const data = shown(), now = status();
    if (chips.childElementCount !== data.methods.length) {
      chips.replaceChildren(...data.methods.map((name) => {
        const chip = make("button", { type: "button", class: "chip", text: name, "aria-pressed": "false" });
        chip.addEventListener("click", () => { if (!chosen.delete(name)) chosen.add(name); update(); });
        return chip;
      }));
      epochs.value = data.epochs ?? "";
    }
    for (const chip of chips.children) {
      chip.classList.toggle("on", chosen.has(chip.textContent));
      set(chip, { "aria-pressed": String(chosen.has(chip.textContent)) });
      chip.disabled = busy();
    }
    raceChoices(order, data.orders, order.value || data.orders[0][0]);
    for (const control of [seeds, epochs, order]) control.disabled = busy();
    start.disabled = !chosen.size;
    set(start, { title: chosen.size ? null : "choose the methods first" });
    show(start, !busy());
    show(stop, busy());
    set(text, { text: now.text });
    show(done, busy());
    done.firstChild.style.width = `${100 * now.done}%`;
    if (busy()) element.open = true;
  }
  return { element, update };
}

// The plot; its two lines are sliders for the keyboard too.
function racePlot(shown, status, focus, point, pin, tell) {
  const svg = draw("svg", { role: "group", "aria-label": "curves of the race" });
  const element = make("div", { class: "plot" }, svg);
  const title = draw("text", { class: "soft", x: 4, y: 12 }), under = draw("text", { class: "soft", "text-anchor": "end" });
  const [grid, ticks, curves, leads, names] = ["rules", "ticks", "curves", "leads", "names"].map((name) => draw("g", { class: name }));
  const lines = { at: raceLine("where the race is read"), threshold: raceLine("what is to be reached") };
  svg.append(grid, ticks, curves, leads, names, lines.threshold.group, lines.at.group, title, under);
  let width = 0, dragged = null, moved = {};
  const save = atMostEvery(90, ([name, value]) => tell(name, value));

  // Room for the longest name.
  const margin = () => 30 + 6.4 * (5 + Math.max(...shown().entrants.map(({ name }) => name.length)));
  const area = () => ({ left: RACE.left, right: width - Math.min(margin(), width / 3), top: RACE.top, bottom: RACE.height - RACE.bottom });
  const x = (value) => area().left + value / (shown().end || 1) * (area().right - area().left);
  const y = (value) => {
    const [low, high] = shown().range;
    return area().bottom - (clamp(value, low, high) - low) / (high - low || 1) * (area().bottom - area().top);
  };
  const here = (name) => moved[name] ?? status()[name];

  new ResizeObserver(([entry]) => { width = entry.contentRect.width; update(); }).observe(element);

  function put(name, value, final) {
    const [low, high] = shown().range;
    moved[name] = name === "at" ? clamp(value, 0, shown().end) : clamp(value, low, high);
    if (final || name === "threshold") save([name, moved[name]]);
    update();
  }

  function place(name, event) {
    const frame = svg.getBoundingClientRect(), { left, right, top, bottom } = area(), [low, high] = shown().range;
    return name === "at" ? (event.clientX - frame.left - left) / (right - left) * shown().end
                         : low + (bottom - (event.clientY - frame.top)) / (bottom - top) * (high - low);
  }

  for (const [name, { group }] of Object.entries(lines)) {
    group.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      event.preventDefault();
      group.focus({ preventScroll: true });
      group.setPointerCapture(event.pointerId);
      dragged = name;
    });
    group.addEventListener("pointermove", (event) => { if (dragged === name) put(name, place(name, event), false); });
    for (const kind of ["pointerup", "pointercancel"]) group.addEventListener(kind, () => {
      if (dragged === name && moved[name] != null) put(name, moved[name], true);
      dragged = null;
    });
    group.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const [low, high] = shown().range;
      put(name, here(name) + by * (event.shiftKey ? 10 : 1) * (name === "at" ? shown().end : high - low) / 100, true);
    });
  }

  function update() {
    if (width < 300) return;
    const data = shown(), { left, right, top, bottom } = area();
    const key = `${data.metric}/${data.axis}`;
    if (svg.dataset.key !== key) moved = {};
    svg.dataset.key = key;
    set(svg, { viewBox: `0 0 ${width} ${RACE.height}`, height: RACE.height });
    set(title, { text: data.unit });
    set(under, { x: right, y: bottom + 33, text: data.xname });
    gridLines(grid, data.ticks, y, { left, right });
    ticks.replaceChildren(...data.xticks.map((tick) =>
      draw("text", { class: "soft", x: x(tick).toFixed(1), y: bottom + 17, "text-anchor": "middle", text: tick })));
    drawCurves(data, { right, top, bottom });
    drawLines(data, { left, right, top, bottom });
  }

  function drawCurves(data, { right, top, bottom }) {
    const chosen = focus.pointed || focus.pinned, ends = [];
    curves.style.setProperty("--faint", data.faint);
    curves.replaceChildren(...data.entrants.map((one) => {
      const kind = `${one.pale ? "pale " : ""}${chosen === one.name ? "chosen" : chosen ? "other" : ""}`;
      const trace = ([xs, ys], extra, dash) => draw("path", { class: `curve ${extra}`, "stroke-dasharray": dash || null,
        d: xs.map((value, k) => `${k ? "L" : "M"}${x(value).toFixed(1)},${y(ys[k]).toFixed(1)}`).join("") });
      const group = draw("g", { class: kind }, ...one.lines.map((line) => trace(line, "seed")), trace(one.median, "median", one.dash), trace(one.median, "hit"));
      const [xs, ys] = one.median;
      if (xs.length) {
        const end = [x(xs.at(-1)), y(ys.at(-1))];
        group.append(draw("circle", { class: "end", r: 2.8, cx: end[0].toFixed(1), cy: end[1].toFixed(1) }));
        ends.push({ end, kind, name: one.name, label: draw("text", { class: `name ${kind}`, text: `${one.name} ${rounded(ys.at(-1))}` }) });
      }
      group.addEventListener("pointerenter", () => { if (!dragged) point(one.name); });
      group.addEventListener("pointerleave", () => point(""));
      group.addEventListener("click", () => pin(one.name));
      return group;
    }));
    spreadLabels(ends, { top, bottom }, right + 14);
    names.replaceChildren(...ends.map(({ label, name }) => {
      label.addEventListener("pointerenter", () => { if (!dragged) point(name); });
      label.addEventListener("pointerleave", () => point(""));
      label.addEventListener("click", () => pin(name));
      return label;
    }));
    leads.replaceChildren(...ends.map(({ end, label }) =>
      draw("path", { class: "grid", d: `M${end[0] + 4},${end[1]}L${right + 11},${label.getAttribute("y") - 3.5}` })));
  }

  function drawLines(data, { left, right, top, bottom }) {
    const at = here("at"), goal = here("threshold"), [low, high] = data.range;
    show(lines.at.group, at != null);
    if (at != null) lines.at.put(`M${x(at).toFixed(1)},${top}V${bottom}`, x(at) - 5, top + 9, "read here",
      { "text-anchor": "end" }, { "aria-valuemin": 0, "aria-valuemax": data.end, "aria-valuenow": at, "aria-valuetext": `${Number(at.toPrecision(3))} ${data.xname}` });
    const visible = goal != null && goal >= low && goal <= high;
    show(lines.threshold.group, visible);
    if (visible) lines.threshold.put(`M${left},${y(goal).toFixed(1)}H${right}`, left + 5, y(goal) - 5, `reach ${rounded(goal)}`,
      {}, { "aria-valuemin": low, "aria-valuemax": high, "aria-valuenow": goal, "aria-valuetext": rounded(goal) });
  }

  return { element, update };
}

// A line that can be dragged: wide enough for a finger, with its name beside it.
function raceLine(label) {
  const path = draw("path", { class: "cursor" }), hit = draw("path", { class: "hit" }), name = draw("text", { class: "name" });
  const group = draw("g", { class: `drag${label.startsWith("what") ? " dashed" : ""}`, tabindex: 0, role: "slider", "aria-label": label }, hit, path, name);
  return {
    group,
    put(d, x, y, text, style, values) {
      for (const node of [path, hit]) set(node, { d });
      set(name, { x: x.toFixed(1), y: y.toFixed(1), text, ...style });
      set(group, values);
    },
  };
}

export default {
  render({ model, el }) {
    const { root, update } = raceView(model);
    el.append(root);
    for (const name of ["shown", "status"]) model.on(`change:${name}`, update);
    update();
    return () => { for (const name of ["shown", "status"]) model.off(`change:${name}`, update); };
  },
};
