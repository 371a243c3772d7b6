// The curves: ink and dashes, direct labels, one time axis. Hues are kept for operations.

const CURVE = { left: 30, right: 136, top: 21, bottom: 9, line: 12.5 };

function curvesPanel(store) {
  const panel = make("section", { class: "panel curves", "aria-label": "curves" });
  const ghostNote = make("span", { class: "note" });
  let charts = [], shownHead = null;

  function build() {
    shownHead = store.rows.head;
    charts = shownHead.charts.map((spec) => chartView(store, spec));
    panel.replaceChildren(make("div", { class: "row" }, make("h2", { text: "Curves" }), make("span", { class: "grow" }), ghostNote),
                          ...charts.map((chart) => chart.element));
  }

  return {
    element: panel,
    update() {
      if (!store.rows) return;
      if (store.rows.head !== shownHead) build();
      show(ghostNote, store.ghost);
      set(ghostNote, { text: store.ghost ? `pale: ${store.ghostLabel}` : "" });
      charts.forEach((chart) => chart.update());
    },
  };
}

function chartView(store, spec) {
  const svg = draw("svg", { role: "img", "aria-label": spec.title });
  const element = make("div", { class: `chart${spec.series.length > 2 ? " tall" : ""}` }, svg);
  const title = draw("text", { class: "soft", x: 0, y: 11, text: spec.title });
  const grid = draw("g"), marks = draw("g", { class: "marks" }), lines = draw("g"), dots = draw("g"), names = draw("g");
  const cursor = draw("path", { class: "cursor" });
  svg.append(grid, marks, lines, cursor, dots, names, title);
  const series = spec.series.map((item) => seriesView(item, lines, dots, names));
  let size = { width: 0, height: 0 }, drawnFor = "", top = 1, pointed = null;

  const area = () => ({ left: CURVE.left, right: size.width - CURVE.right, top: CURVE.top, bottom: size.height - CURVE.bottom });
  const x = (t) => CURVE.left + t / Math.max(store.rows.total - 1, 1) * (size.width - CURVE.right - CURVE.left);
  const y = (value) => area().bottom - clamp((value - spec.range[0]) / (top - spec.range[0]), 0, 1) * (area().bottom - area().top);

  new ResizeObserver(([entry]) => {
    size = { width: entry.contentRect.width, height: entry.contentRect.height };
    store.changed();
  }).observe(element);
  svg.addEventListener("pointermove", (event) => { pointed = rowAt(event); if (event.buttons) jump(); store.changed(); });
  svg.addEventListener("pointerdown", (event) => { pointed = rowAt(event); jump(); });
  svg.addEventListener("pointerleave", () => { pointed = null; store.changed(); });

  function rowAt(event) {
    const { left, right } = area();
    const across = (event.clientX - svg.getBoundingClientRect().left - left) / (right - left);
    return store.rows?.length && across > -0.02 && across < 1.02
      ? clamp(Math.round(across * (store.rows.total - 1)), 0, store.rows.length - 1) : null;
  }

  function jump() {
    if (pointed !== null) store.cursor.move({ t: pointed });
  }

  function isShown(known) {
    if (!known.length) return false;
    return !("unless" in spec) || known.some(({ item }) => store.rows.metrics[item.metric].some((value) => value != null && value !== spec.unless));
  }

  // What depends on the rows and the size alone; moving the cursor draws none of it again.
  function rebuild(known) {
    const { rows, ghost } = store;
    top = spec.range[1] ?? nice(Math.max(...known.map(({ item }) => most(rows.metrics[item.metric]))));
    set(svg, { viewBox: `0 0 ${size.width} ${size.height}` });
    gridLines(grid, [spec.range[0], (spec.range[0] + top) / 2, top], y, area());
    marks.replaceChildren(...rows.changes.map((change) =>
      draw("path", { d: `M${x(change.t).toFixed(1)},${area().top}V${area().bottom}` })));
    for (const one of series) one.rebuild(rows, ghost, x, y);
  }

  function update() {
    const { rows, t } = store;
    const known = series.filter(({ item }) => rows.metrics[item.metric]?.some((value) => value != null));
    const visible = isShown(known);
    show(element, visible);
    if (!visible || size.width < 150 || size.height < 40 || t < 0) return;
    const key = `${rows.version}|${rows.total}|${size.width}|${size.height}|${store.ghost?.length}`;
    if (key !== drawnFor) rebuild(known);
    drawnFor = key;
    const at = pointed ?? t;
    for (const one of series) one.place(rows, at, x, y);
    spreadLabels(series, area(), Math.min(x(rows.length - 1), area().right) + 7);
    set(cursor, { d: `M${x(t).toFixed(1)},${area().top - 3}V${area().bottom}` });
    set(title, { text: pointed === null ? spec.title : `${spec.title} · step ${rows.steps[pointed]}` });
  }

  return { element, update };
}

// One line with its ghost, the dot at the cursor and its name; a noisy one is pale under its running mean.
function seriesView(item, lines, dots, names) {
  const path = (extra) => draw("path", { class: `curve ${extra}${item.soft ? " soft" : ""}`, "stroke-dasharray": item.dash || null });
  const ghost = path("ghost"), raw = path("raw"), main = path("");
  const dot = draw("circle", { class: "dot", r: 2.6 });
  const label = draw("text", { class: `name${item.soft ? " soft" : ""}` });
  lines.append(ghost, ...(item.noisy ? [raw] : []), main);
  dots.append(dot);
  names.append(label);
  const view = { item, label, end: null, smooth: null };

  view.rebuild = (rows, other, x, y) => {
    const column = rows.metrics[item.metric] ?? [];
    view.smooth = item.noisy ? runningMean(column) : column;
    if (item.noisy) set(raw, { d: line(column, rows.length, x, y).d });
    const drawn = line(view.smooth, rows.length, x, y);
    set(main, { d: drawn.d });
    view.end = drawn.end;
    const pale = other?.metrics[item.metric];
    set(ghost, { d: pale ? line(item.noisy ? runningMean(pale) : pale, other.length, x, y).d : "" });
  };

  view.place = (rows, t, x, y) => {
    let k = Math.min(t, view.smooth.length - 1);
    while (k >= 0 && view.smooth[k] == null) k--;
    show(dot, k >= 0);
    show(label, view.end !== null);
    if (k >= 0) set(dot, { cx: x(k).toFixed(1), cy: y(view.smooth[k]).toFixed(1) });
    set(label, { text: k >= 0 ? `${item.label} ${rounded(view.smooth[k])}` : item.label });
  };
  return view;
}

const rounded = (value) => brief(Math.abs(value) < 0.01 ? Number(value.toPrecision(2)) : Math.round(1000 * value) / 1000);

// The next number upwards that reads well on an axis; like svg.nice.
function nice(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
}

function most(column) {
  let high = 0;
  for (const value of column) if (value > high) high = value;
  return high;
}

function runningMean(column, rows = 10) {
  const held = [];
  let sum = 0;
  return column.map((value) => {
    if (value == null) return null;
    held.push(value);
    sum += value;
    if (held.length > rows) sum -= held.shift();
    return sum / held.length;
  });
}

function gridLines(grid, values, y, { left, right }) {
  grid.replaceChildren(...values.flatMap((value) => {
    const place = y(value);
    return [draw("path", { class: "grid", d: `M${left},${place.toFixed(1)}H${right.toFixed(1)}` }),
            draw("text", { class: "soft", x: left - 6, y: (place + 3.5).toFixed(1), "text-anchor": "end", text: brief(value) })];
  }));
}

// A path through the values that were measured, with at most a few points a pixel; and where it ends.
function line(column, length, x, y) {
  let d = "", end = null;
  const stride = Math.max(1, Math.floor(length / 800));
  for (let t = 0; t < Math.min(length, column.length); t++) {
    const value = column[t];
    if (value == null || (stride > 1 && t % stride && t !== length - 1)) continue;
    end = [x(t), y(value)];
    d += `${d ? "L" : "M"}${end[0].toFixed(1)},${end[1].toFixed(1)}`;
  }
  return { d, end };
}

// Names stand beside the ends of their curves, moved apart where they would overlap.
function spreadLabels(series, { top, bottom }, x) {
  const shown = series.filter(({ end }) => end).sort((a, b) => a.end[1] - b.end[1]);
  const places = shown.map(({ end }) => end[1] + 3.5);
  const last = places.length - 1;
  for (let k = 0; k <= last; k++) places[k] = Math.max(places[k], k ? places[k - 1] + CURVE.line : top);
  for (let k = last; k >= 0; k--) places[k] = Math.min(places[k], k < last ? places[k + 1] - CURVE.line : bottom + 6);
  shown.forEach(({ label }, k) => set(label, { x: x.toFixed(1), y: places[k].toFixed(1) }));
}
