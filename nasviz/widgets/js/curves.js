// The curves: ink and dashes, direct labels, one time axis. Hues are kept for operations.

const CURVE = { width: 350, left: 34, right: 112, top: 20, bottom: 12 };

function curvesPanel(store) {
  const panel = make("section", { class: "panel curves", "aria-label": "curves" });
  const note = make("p", { class: "note", "aria-live": "polite" });
  let charts = [], shownHead = null;

  function build() {
    shownHead = store.rows.head;
    charts = shownHead.charts.map((spec) => chartView(store, spec));
    panel.replaceChildren(make("h2", { text: "curves" }), ...charts.map((chart) => chart.element));
    if (store.setup.panels.includes("notice")) panel.append(note);
  }

  return {
    element: panel,
    update() {
      if (!store.rows) return;
      if (store.rows.head !== shownHead) build();
      charts.forEach((chart) => chart.update());
      const says = store.rows.notes[store.t] ?? "";
      if (note.textContent !== says) note.textContent = says;
    },
  };
}

function chartView(store, spec) {
  const height = spec.series.length > 2 ? 132 : 84;
  const { width, left, right, top, bottom } = CURVE;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": spec.title });
  const title = draw("text", { class: "soft", x: 0, y: 11, text: spec.title });
  const grid = draw("g"), marks = draw("g", { class: "marks" }), lines = draw("g"), names = draw("g");
  const cursor = draw("path", { class: "cursor" });
  svg.append(grid, marks, lines, names, cursor, title);
  const series = spec.series.map((item) => {
    const curve = (extra) => draw("path", { class: `curve${extra}${item.soft ? " soft" : ""}`, "stroke-dasharray": item.dash });
    const path = curve(""), ghost = curve(" ghost"), label = draw("text", { class: item.soft ? "soft" : "" });
    lines.append(ghost, path);
    names.append(label);
    return { item, path, ghost, label };
  });
  let gridTop = null;

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    if (!store.rows || x < left || x > width - right) return leave();
    const t = Math.round((x - left) / (width - left - right) * (store.rows.total - 1));
    const says = series.map(({ item }) => [item.label, store.rows.latest(item.metric, t)])
      .filter(([, value]) => value != null).map(([label, value]) => `${label} ${short(value)}`).join(" · ");
    if (t < store.rows.length) title.textContent = `row ${t}: ${says}`;
  });
  const leave = () => { title.textContent = spec.title; };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width * width - left) / (width - left - right);
    if (store.rows && share >= 0 && share <= 1) {
      store.cursor.move({ t: clamp(Math.round(share * (store.rows.total - 1)), 0, store.rows.length - 1) });
    }
  });

  function update() {
    const { rows, ghost, t } = store;
    const low = spec.range[0];
    const known = series.filter(({ item }) => rows.metrics[item.metric]?.some((value) => value != null));
    svg.style.display = known.length ? "" : "none";
    if (!known.length) return;
    let high = spec.range[1];
    if (high == null) {
      high = 0;
      for (const { item } of known) for (const value of rows.metrics[item.metric]) if (value > high) high = value;
      high = high > 0 ? 1.05 * high : 1;
    }
    const x = (row) => left + row / Math.max(rows.total - 1, 1) * (width - left - right);
    const y = (value) => height - bottom - clamp((value - low) / (high - low), 0, 1) * (height - top - bottom);
    if (gridTop !== high) { gridTop = high; gridLines(grid, low, high, y); }
    marks.replaceChildren(...rows.changes.map((change) =>
      draw("path", { d: `M${x(change.t).toFixed(1)},${top}V${height - bottom}` })));
    const labels = [];
    for (const { item, path, ghost: pale, label } of series) {
      const { d, last } = line(rows.metrics[item.metric], rows.length, x, y);
      path.setAttribute("d", d);
      pale.setAttribute("d", ghost ? line(ghost.metrics[item.metric], ghost.length, x, y).d : "");
      label.textContent = last == null ? "" : item.label;
      if (last != null) labels.push([last + 3.5, label]);
    }
    placeLabels(labels, height);
    cursor.setAttribute("d", `M${x(t).toFixed(1)},${top - 4}V${height - bottom}`);
  }

  return { element: svg, update };
}

function gridLines(grid, low, high, y) {
  grid.replaceChildren();
  for (const value of [low, (low + high) / 2, high]) {
    const place = y(value).toFixed(1);
    grid.append(draw("path", { class: "grid", d: `M${CURVE.left},${place}H${CURVE.width - CURVE.right}` }),
                draw("text", { class: "soft", x: CURVE.left - 5, y: Number(place) + 3, "text-anchor": "end", text: short(value) }));
  }
}

// A path through the values that were measured, at most two points a pixel; and where the last one lies.
function line(column, length, x, y) {
  let d = "", last = null;
  if (!column) return { d, last };
  const stride = Math.max(1, Math.floor(length / 700));
  for (let t = 0; t < length; t++) {
    const value = column[t];
    if (value == null || (stride > 1 && t % stride && t !== length - 1)) continue;
    last = y(value);
    d += `${d ? "L" : "M"}${x(t).toFixed(1)},${last.toFixed(1)}`;
  }
  return { d, last };
}

// Labels beside the ends of their curves, moved apart where they would overlap.
function placeLabels(labels, height) {
  labels.sort((a, b) => b[0] - a[0]);
  let floor = height - 2;
  for (const [wish, label] of labels) {
    const place = Math.min(wish, floor);
    floor = place - 11.5;
    set(label, { x: CURVE.width - CURVE.right + 5, y: place.toFixed(1) });
  }
}
