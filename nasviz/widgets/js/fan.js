// Fan of futures: the reader draws the curve that is expected, then the forked runs arrive as ribbons.
// Ink is the unchanged knob, the colour of a turned knob the changed one, the dashed blue line the reader's own.

const FAN = { left: 44, right: 118, top: 12, bottom: 26, height: 300 };
const RAMP = 10;  // steps over which a key press bends the curve

function fanView(model) {
  const send = (name, payload = {}) => model.send({ kind: "command", name, payload });
  const shown = () => model.get("shown"), status = () => model.get("status");
  const open = () => status().state === "draw";
  const busy = () => ["starting", "running"].includes(status().state);
  const plot = fanPlot(shown, open, (values) => send("draw", { metric: shown().metric, values }));

  const title = make("h1"), state = make("span", { class: "pill state" }), ask = make("p", { class: "ask" });
  const step = make("input", { type: "range", step: 1, "aria-label": "step of the fork" }), at = make("output", { class: "value" });
  const knob = make("select", { "aria-label": "knob" }), metric = make("select", { "aria-label": "metric" });
  const value = make("input", { type: "number", step: "any", "aria-label": "second value" }), now = make("span");
  const button = (text, name, act, extra = "") => {
    const node = make("button", { type: "button", class: `btn ${extra}`, text });
    node.addEventListener("click", act ?? (() => send(name)));
    return node;
  };
  const fork = button("Fork", "fork", null, "main"), stop = button("Stop", "stop");
  const again = button("Ask again", "choose", () => send("choose", { step: shown().step }));
  const skip = button("Skip the drawing", "skip"), clear = button("Clear", "clear", () => plot.clear());
  const told = make("span", { class: "note", role: "status" });
  const word = make("b"), text = make("span"), verdict = make("p", { class: "notice verdict", "aria-live": "polite" }, word, text);
  const trouble = make("div", { class: "trouble", role: "alert" });

  step.addEventListener("input", () => set(at, { text: step.value }));
  step.addEventListener("change", () => send("choose", { step: Number(step.value) }));
  knob.addEventListener("change", () => send("choose", { knob: knob.value }));
  const turn = () => { if (Number(value.value) !== shown().value) send("choose", { value: value.value }); };
  value.addEventListener("change", turn);
  value.addEventListener("keydown", ({ key }) => { if (key === "Enter") turn(); });  // in JupyterLab it changes nothing by itself
  metric.addEventListener("change", () => send("choose", { metric: metric.value }));

  const root = make("div", { class: "nasviz fan", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "fan of futures" },
      make("div", { class: "row" }, title, state, make("span", { class: "grow" }), metric),
      make("div", { class: "bar asked" },
        make("label", { class: "bar" }, "from step", at, step),
        make("label", { class: "bar" }, "turn", knob), now, value),
      ask, plot.element,
      make("div", { class: "bar" }, fork, stop, clear, skip, again, told), verdict, trouble));
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));

  function choices(select, pairs, chosen) {
    const known = pairs.map(([name]) => name).join();
    if (select.dataset.known !== known) select.replaceChildren(...pairs.map(([name, label]) => make("option", { value: name, text: label })));
    select.dataset.known = known;
    select.value = chosen;
  }

  function update() {
    const data = shown(), { state: name, text: progress, error, ready, skipped } = status();
    set(title, { text: `Fan of futures · ${data.title}` });
    set(state, { "data-state": name, text: { draw: ready ? "ready" : "your turn", finished: "done" }[name] ?? name });
    choices(metric, data.metrics, data.metric);
    choices(knob, data.knobs, data.knob);
    set(step, { min: data.steps[0], max: data.steps[1] });
    if (Number(step.value) !== data.step) step.value = data.step;
    set(at, { text: data.step });
    set(now, { text: `from ${data.now} to` });
    set(value, { min: data.bounds[0], max: data.bounds[1] });
    if (document.activeElement !== value || !error) value.value = data.value;
    for (const control of [step, knob, value]) control.disabled = busy();
    set(ask, { text: `${data.ask} Two times ${data.seeds} runs will tell.` });
    fork.disabled = !ready;
    set(fork, { title: ready ? null : "draw the curve you expect first" });
    for (const [node, visible] of [[fork, !busy() && name !== "finished"], [stop, busy()], [clear, open()], [skip, open()], [again, !open() && !busy()]]) show(node, visible);
    clear.disabled = !plot.drawn();
    skip.disabled = skipped;
    set(told, { text: progress || (skipped && name === "draw" && !plot.drawn() ? "No curve: you only look." : "") });
    show(verdict, data.text);
    set(verdict, { "data-word": data.word });
    set(word, { text: data.word });
    set(text, { text: data.text });
    set(trouble, { text: error ?? "" });
    plot.update();
    Object.assign(root.dataset, { state: name, futures: data.arms.length });
  }
  return { root, update };
}

// The plot: what was recorded, what the reader draws, the ribbons; a slider for the keyboard.
function fanPlot(shown, open, tell) {
  const svg = draw("svg", { tabindex: 0, role: "slider", "aria-label": "the curve you expect", "aria-orientation": "vertical" });
  const element = make("div", { class: "plot" }, svg);
  const late = draw("rect", { class: "late" }), lateName = draw("text", { class: "soft", "text-anchor": "middle" });
  const title = draw("text", { class: "soft", x: 4, y: 12 }), hint = draw("text", { class: "soft", "text-anchor": "middle" });
  const [grid, ribbons, lines, names, ticks] = ["grid", "ribbons", "lines", "names", "ticks"].map(() => draw("g"));
  const past = draw("path", { class: "curve past" }), fork = draw("path", { class: "cursor" });
  const mine = draw("path", { class: "curve mine" }), pen = draw("circle", { class: "pen", r: 4.5 });
  svg.append(late, grid, lateName, ticks, ribbons, past, fork, lines, mine, pen, names, hint, title);
  let width = 0, curve = null, key = "", stroke = null, at = { k: 0, v: 0 };
  const save = atMostEvery(120, () => tell(curve));

  const area = () => ({ left: FAN.left, right: width - FAN.right, top: FAN.top + 10, bottom: FAN.height - FAN.bottom });
  const first = () => -shown().past.length, last = () => shown().horizon - 1;
  const x = (k) => area().left + (k - first()) / (last() - first()) * (area().right - area().left);
  const y = (value) => area().bottom - (value - shown().range[0]) / (shown().range[1] - shown().range[0]) * (area().bottom - area().top);
  // A curve of the future begins where the recorded one ends.
  const onwards = (values) => {
    const found = line(values, values.length, x, y);
    return { ...found, d: found.d.replace("M", `M${x(-1).toFixed(1)},${y(inside(shown().start)).toFixed(1)}L`) };
  };
  const inside = (value) => clamp(value, ...shown().range);

  new ResizeObserver(([entry]) => { width = entry.contentRect.width; update(); }).observe(element);

  // -- drawing

  function place(event) {
    const { left, top } = svg.getBoundingClientRect(), { left: begin, right: end, top: high, bottom: low } = area();
    const across = (event.clientX - left - begin) / (end - begin), up = (low - (event.clientY - top)) / (low - high);
    const [least, most] = shown().range;
    return { k: clamp(Math.round(first() + across * (last() - first())), 0, last()), v: inside(least + up * (most - least)) };
  }

  function put(from, to) {
    curve ??= Array(shown().horizon).fill(null);
    for (let k = Math.min(from.k, to.k); k <= Math.max(from.k, to.k); k++) {
      curve[k] = from.k === to.k ? to.v : from.v + (to.v - from.v) * (k - from.k) / (to.k - from.k);
    }
  }

  // Fills what no stroke has touched: a straight line from where the search stands, and to the end as it was left.
  function complete() {
    const known = curve.flatMap((value, k) => (value == null ? [] : [[k, value]]));
    const ends = [[-1, inside(shown().start)], ...known, [curve.length, known.at(-1)[1]]];
    curve = curve.map((value, k) => {
      if (value != null) return value;
      const next = ends.findIndex(([place]) => place > k), [[a, from], [b, to]] = [ends[next - 1], ends[next]];
      return from + (to - from) * (k - a) / (b - a);
    });
  }

  svg.addEventListener("pointerdown", (event) => {
    const { left } = svg.getBoundingClientRect();
    if (!open() || event.button || !event.isPrimary || event.clientX - left < x(0) - 12) return;
    event.preventDefault();
    svg.focus({ preventScroll: true });
    svg.setPointerCapture(event.pointerId);
    stroke = at = place(event);
    put(stroke, stroke);
    update();
  });
  svg.addEventListener("pointermove", (event) => {
    if (!stroke) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) {
      const next = place(each);
      put(stroke, next);
      stroke = at = next;
    }
    update();
  });
  for (const kind of ["pointerup", "pointercancel"]) svg.addEventListener(kind, () => {
    if (!stroke) return;
    stroke = null;
    complete();
    save();
    update();
  });

  // Left and right move the pen; up and down bend the curve from there on.
  svg.addEventListener("keydown", (event) => {
    if (!open() || event.ctrlKey || event.metaKey || event.altKey) return;
    const stride = event.shiftKey ? 10 : 1, [least, most] = shown().range;
    const to = { ArrowLeft: at.k - stride, ArrowRight: at.k + stride, Home: 0, End: last() }[event.key];
    const up = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (to == null && up == null) return;
    event.preventDefault();
    event.stopPropagation();
    if (to != null) at.k = clamp(to, 0, last());
    else {
      curve ??= Array(shown().horizon).fill(inside(shown().start));
      const by = (most - least) / 100 * up * (event.shiftKey ? 5 : 1);
      curve = curve.map((value, k) => inside(value + by * clamp((k - at.k + RAMP) / RAMP, 0, 1)));
      save();
    }
    update();
  });
  for (const kind of ["focus", "blur"]) svg.addEventListener(kind, () => update());

  // -- the picture

  function update() {
    const data = shown(), { left, right, top, bottom } = area();
    if (key !== data.key) [key, curve, stroke, at.k] = [data.key, data.drawn, null, 0];
    if (width < 200) return;
    set(svg, { viewBox: `0 0 ${width} ${FAN.height}`, height: FAN.height });
    svg.classList.toggle("open", open());
    set(title, { text: data.label });
    gridLines(grid, data.ticks, y, { left, right });
    const begin = x(data.horizon - data.late - 0.5);
    set(late, { x: begin, y: top, width: right - begin, height: bottom - top });
    set(lateName, { x: (begin + right) / 2, y: top + 12, text: "compared" });
    const marks = [...new Set([first(), 0, Math.round(data.horizon / 3), Math.round(2 * data.horizon / 3), last()])];
    ticks.replaceChildren(...marks.map((k) =>
      draw("text", { class: "soft", x: x(k).toFixed(1), y: bottom + 17, "text-anchor": "middle", text: (k === 0 ? "step " : "") + (data.step + k) })));
    set(fork, { d: `M${x(-0.5).toFixed(1)},${top}V${bottom}` });
    set(past, { d: line(data.past, data.past.length, (k) => x(first() + k), y).d });

    const ends = [];
    const name = (label, end, extra) => {
      if (end) ends.push({ end, label: names.appendChild(draw("text", { class: `name ${extra}`, text: label })) });
    };
    names.replaceChildren();
    const { arms } = data;
    ribbons.replaceChildren(...arms.map((arm, k) => draw("path", { class: `ribbon arm${k}`, d: ribbon(arm.futures, x, y) })));
    lines.replaceChildren(...arms.flatMap((arm, k) => {
      const middle = onwards(arm.median);
      name(`${arm.label}: ${rounded(arm.median.findLast(isNumber))}`, middle.end, `arm${k}`);
      return [...arm.futures.map((one) => draw("path", { class: `curve one arm${k}`, d: onwards(one).d })),
              draw("path", { class: `curve median arm${k}`, d: middle.d })];
    }));
    const own = onwards(curve ?? []);
    set(mine, { d: own.d });
    if (!stroke) name(`you: ${rounded(curve?.at(-1))}`, curve && own.end, "mine");
    spreadLabels(ends, { top: top + 8, bottom }, right + 7);

    show(hint, open() && !curve);
    set(hint, { x: (x(0) + right) / 2, y: (top + bottom) / 2, text: width < 560 ? "draw here" : "draw the curve you expect here (or use the arrow keys)" });
    const here = curve?.[at.k] ?? inside(data.start);
    show(pen, open() && (stroke || document.activeElement === svg));
    set(pen, { cx: x(at.k).toFixed(1), cy: y(here).toFixed(1) });
    set(svg, { "aria-valuemin": data.range[0], "aria-valuemax": data.range[1], "aria-valuenow": here, "aria-disabled": String(!open()),
               "aria-valuetext": `step ${data.step + at.k}: ${brief(here)}` });
  }

  return {
    element, update,
    drawn: () => curve !== null,
    clear() { curve = null; at.k = 0; tell(null); update(); },
  };
}

// The outline around the futures of one setting, through the steps at which they were measured.
function ribbon(futures, x, y) {
  const known = futures[0].map((_, k) => [k, futures.map((one) => one[k]).filter(isNumber)]).filter(([, values]) => values.length);
  const edge = (end, steps) => steps.map(([k, values]) => `${x(k).toFixed(1)},${y(end(...values)).toFixed(1)}`).join("L");
  return known.length ? `M${edge(Math.max, known)}L${edge(Math.min, known.reverse())}Z` : "";
}

export default {
  render({ model, el }) {
    const { root, update } = fanView(model);
    el.append(root);
    for (const name of ["shown", "status"]) model.on(`change:${name}`, update);
    update();
    return () => { for (const name of ["shown", "status"]) model.off(`change:${name}`, update); };
  },
};
