// The distribution over time: every edge as a stack of its operations, the chosen edge op by op, and the way of all
// edges over the simplex, projected so that every operation is a corner.

const SPREAD = { name: 62, gap: 3, ridge: { left: 8, right: 96, overlap: 1.55 }, columns: 160 };

function spreadPanel(store) {
  const overview = make("div", { class: "stacks" });
  const ridges = make("figure", { class: "ridges" }), simplex = make("figure", { class: "simplex" });
  const note = make("span", { class: "note" });
  const panel = make("section", { class: "panel spread", "aria-label": "distribution" },
    make("div", { class: "row" }, make("h2", { text: "Distribution over time" }), note), make("div", { class: "spreads" }, overview, ridges, simplex));
  let shownHead = null, stacks = [], ridge = null, way = null;

  function build() {
    const { rows } = store;
    shownHead = rows.head;
    stacks = rows.head.cells.map((name, cell) => stackView(store, cell, name));
    overview.replaceChildren(...stacks.map((view) => view.element));
    ridge = ridgeView(store);
    way = simplexView(store);
    ridges.replaceChildren(...ridge.elements);
    simplex.replaceChildren(...way.elements);
    const sums = rows.head.probs === "simplex" ? "the whole height is 1" : "the whole height is the largest sum of any edge";
    set(note, { text: `colour = operation, height = its weight; ${sums} · click an edge` });
  }

  return {
    element: panel,
    update() {
      if (!store.rows || store.t < 0) return;
      if (store.rows.head !== shownHead) build();
      const [cell, edge] = store.chosen ?? [0, 0];
      for (const view of stacks) view.update(cell, edge);
      ridge.update(cell, edge);
      way.update(cell, edge);
    },
  };
}

// The rows that are drawn of a long recording, the newest among them.
function sampled(length, columns = SPREAD.columns) {
  const n = Math.min(length, columns);
  return Array.from({ length: n }, (_, k) => Math.round(n > 1 ? k * (length - 1) / (n - 1) : 0));
}

// A strip of time that is scrubbed by pointing, with the cursor's line; `act(width)` draws it anew.
function timeStrip(store, left, right, act) {
  const svg = draw("svg", { role: "img" });
  const cursor = draw("path", { class: "cursor" });
  const element = make("div", { class: "strip" }, svg);
  const strip = { svg, cursor, element, width: 0 };
  strip.x = (t) => left + t / Math.max(store.rows.total - 1, 1) * (strip.width - left - right);
  new ResizeObserver(([entry]) => { strip.width = entry.contentRect.width; act(); }).observe(element);
  const jump = (event) => {
    const across = (event.clientX - svg.getBoundingClientRect().left - left) / (strip.width - left - right);
    if (across < -0.01 || across > 1.01) return false;
    store.cursor.move({ t: clamp(Math.round(across * (store.rows.total - 1)), 0, store.rows.length - 1) });
    return true;
  };
  svg.addEventListener("pointermove", (event) => { if (event.buttons) jump(event); });
  svg.addEventListener("pointerdown", jump);
  return strip;
}

const band = (x, ts, top, bottom) =>
  `M${ts.map((t, k) => `${x(t).toFixed(1)},${top[k].toFixed(1)}`).join("L")}L${[...ts.keys()].reverse().map((k) => `${x(ts[k]).toFixed(1)},${bottom[k].toFixed(1)}`).join("L")}Z`;

// A cell's edges, each a stack of its operations.
function stackView(store, cell, name) {
  const { setup, rows: { head } } = store;
  const edges = head.allowed[cell].length;
  const high = edges > 9 ? 22 : edges > 5 ? 30 : 44;
  const place = (edge) => 2 + edge * (high + SPREAD.gap);
  const strip = timeStrip(store, SPREAD.name, 2, () => update(...(store.chosen ?? [0, 0])));
  const { svg } = strip;
  const lanes = Array.from({ length: edges }, (_, edge) => {
    const key = `${name}:${edge}`, layers = head.ops.map((_, op) => draw("path", { fill: setup.colours[op] }));
    const label = draw("text", { class: "soft", x: SPREAD.name - 7, y: place(edge) + high / 2 + 4, "text-anchor": "end", text: setup.edges[edge] });
    const hit = draw("rect", { class: "hit", x: 0, y: place(edge), width: SPREAD.name, height: high });
    const frame = draw("rect", { class: "frame", x: SPREAD.name, y: place(edge), height: high });
    const group = draw("g", { class: "lane", tabindex: edge ? -1 : 0, role: "button", "aria-label": `${name} ${setup.edges[edge]}` }, hit, label, ...layers, frame);
    const pin = () => store.cursor.move({ edge: store.cursor.edge === key ? "" : key });
    group.addEventListener("click", pin);
    group.addEventListener("pointerenter", () => store.cursor.move({ hover: key }));
    group.addEventListener("pointerleave", () => store.cursor.move({ hover: "" }));
    group.addEventListener("keydown", (event) => {
      stepFocus(event, lanes.map((lane) => lane.group), "ArrowUp", "ArrowDown");
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      pin();
    });
    return { edge, group, frame, layers };
  });
  svg.append(...lanes.map((lane) => lane.group), strip.cursor);
  set(svg, { "aria-label": `${setup.cellNames[cell]}, every edge over time` });
  const height = place(edges);
  svg.style.height = `${height}px`;
  let drawnFor = "";

  function rebuild() {
    const { rows } = store, ts = sampled(rows.length);
    set(svg, { viewBox: `0 0 ${strip.width} ${height}` });
    const full = rows.full;
    for (const { edge, layers, frame } of lanes) {
      const floor = ts.map(() => place(edge) + high);
      layers.forEach((layer, op) => {
        const next = ts.map((t, k) => floor[k] - (rows.at("probs", t, cell, edge, op) || 0) / full * high);
        set(layer, { d: band(strip.x, ts, next, floor) });
        next.forEach((value, k) => { floor[k] = value; });
      });
      set(frame, { width: Math.max(strip.x(rows.total - 1) - SPREAD.name, 0) });
    }
  }

  function update(chosenCell, chosenEdge) {
    if (strip.width < 120 || !store.rows?.length) return;
    const key = `${store.rows.version}|${store.rows.total}|${strip.width}`;
    if (key !== drawnFor) rebuild();
    drawnFor = key;
    set(strip.cursor, { d: `M${strip.x(store.t).toFixed(1)},0V${height}` });
    for (const { edge, group } of lanes) group.classList.toggle("chosen", cell === chosenCell && edge === chosenEdge);
  }

  return { element: make("figure", { class: "stack" }, make("h3", { text: setup.cellNames[cell] }), strip.element), update };
}

// The chosen edge, an operation a ridge.
function ridgeView(store) {
  const { setup, rows: { head } } = store;
  const title = make("h3");
  const strip = timeStrip(store, SPREAD.ridge.left, SPREAD.ridge.right, () => update(...(store.chosen ?? [0, 0])));
  const { svg } = strip;
  const views = head.ops.map((_, op) => ({
    op, base: draw("path", { class: "grid" }), area: draw("path", { fill: setup.colours[op], stroke: setup.colours[op] }),
    name: draw("text", { class: "name" }),
  }));
  svg.append(...views.flatMap(({ base, area }) => [base, area]), strip.cursor, ...views.map(({ name }) => name));
  let drawnFor = "", height = 0;

  function rebuild(cell, edge) {
    const { rows } = store, ts = sampled(rows.length);
    const allowed = views.filter(({ op }) => head.allowed[cell][edge][op]);
    const gap = clamp(210 / allowed.length, 24, 42), rise = gap * SPREAD.ridge.overlap;
    height = rise + gap * (allowed.length - 1) + 6;
    svg.style.height = `${height}px`;
    set(svg, { viewBox: `0 0 ${strip.width} ${height}` });
    for (const view of views) for (const node of [view.base, view.area, view.name]) show(node, allowed.includes(view));
    allowed.forEach(({ op, base, area, name }, k) => {
      const floor = rise + k * gap;
      set(base, { d: `M${SPREAD.ridge.left},${floor}H${strip.x(rows.total - 1).toFixed(1)}` });
      set(area, { d: band(strip.x, ts, ts.map((t) => floor - (rows.at("probs", t, cell, edge, op) || 0) * rise), ts.map(() => floor)) });
      set(name, { x: (strip.x(rows.total - 1) + 9).toFixed(1), y: floor - 2 });
    });
  }

  function update(cell, edge) {
    const { rows } = store;
    if (strip.width < 160 || !rows?.length) return;
    const key = `${rows.version}|${rows.total}|${strip.width}|${cell}:${edge}`;
    if (key !== drawnFor) rebuild(cell, edge);
    drawnFor = key;
    set(strip.cursor, { d: `M${strip.x(store.t).toFixed(1)},0V${height}` });
    for (const { op, name } of views) set(name, { text: `${setup.labels[op]} ${share(rows.at("probs", store.t, cell, edge, op))}` });
    const says = `${head.cells[cell]} ${setup.edges[edge]}`;
    set(title, { text: `${says}: weight of each operation` });
    set(svg, { "aria-label": `${says}, every operation over time` });
  }

  return { elements: [title, strip.element], update };
}

// The way of every edge from the middle, where all operations are alike, to a corner, where one has it all.
function simplexView(store) {
  const { setup, rows: { head } } = store;
  const size = 250, middle = [size / 2, size / 2 + 4], radius = 84;
  const svg = draw("svg", { role: "img", viewBox: `0 0 ${size} ${size}`, "aria-label": "the way of every edge over the simplex" });
  const border = draw("path", { class: "grid border" }), corners = draw("g"), ways = draw("g"), dots = draw("g");
  const edges = head.cells.flatMap((name, cell) => head.allowed[cell].map((_, edge) => {
    const way = draw("path", { class: "way" }), dot = draw("circle", { class: "dot", r: 3 });
    dot.addEventListener("pointerenter", () => store.cursor.move({ hover: `${name}:${edge}` }));
    dot.addEventListener("pointerleave", () => store.cursor.move({ hover: "" }));
    dot.addEventListener("click", () => store.cursor.move({ edge: `${name}:${edge}` }));
    ways.append(way);
    dots.append(dot);
    return { cell, edge, way, dot };
  }));
  svg.append(border, corners, ways, dots);
  const title = make("h3"), caption = make("p", { class: "note" });
  let drawnFor = "", ops = [];

  const corner = (k) => {
    const angle = 2 * Math.PI * k / ops.length - Math.PI / 2;
    return [middle[0] + radius * Math.cos(angle), middle[1] + radius * Math.sin(angle)];
  };
  function at(t, cell, edge) {
    const p = ops.map((op) => store.rows.at("probs", t, cell, edge, op) || 0), total = p.reduce((a, b) => a + b, 0) || 1;
    return p.reduce(([x, y], value, k) => [x + value / total * corner(k)[0], y + value / total * corner(k)[1]], [0, 0]);
  }

  function rebuild(cell) {
    ops = head.ops.map((_, op) => op).filter((op) => head.allowed[cell].some((row) => row[op]));
    set(border, { d: `M${ops.map((_, k) => corner(k).map((value) => value.toFixed(1)).join()).join("L")}Z` });
    corners.replaceChildren(...ops.flatMap((op, k) => {
      const [x, y] = corner(k), beyond = y + (y < middle[1] - 1 ? -10 : 18);  // there is no room beside the corners
      return [draw("circle", { cx: x, cy: y, r: 5, fill: setup.colours[op] }),
              draw("text", { class: "soft", x: clamp(x, 38, size - 38), y: beyond, "text-anchor": "middle", text: setup.labels[op] })];
    }));
    const ts = sampled(store.rows.length, 120);
    for (const each of edges) {
      show(each.way, each.cell === cell);
      show(each.dot, each.cell === cell);
      if (each.cell === cell) set(each.way, { d: `M${ts.map((t) => at(t, cell, each.edge).map((value) => value.toFixed(1)).join()).join("L")}` });
    }
  }

  function update(cell, edge) {
    const key = `${store.rows.version}|${cell}`;
    if (key !== drawnFor) rebuild(cell);
    drawnFor = key;
    for (const each of edges) {
      const mine = each.cell === cell && each.edge === edge;
      for (const node of [each.way, each.dot]) node.classList.toggle("chosen", mine);
      if (each.cell !== cell) continue;
      const [x, y] = at(store.t, cell, each.edge);
      set(each.dot, { cx: x.toFixed(1), cy: y.toFixed(1), r: mine ? 5 : 3 });
    }
    set(title, { text: `${setup.cellNames[cell]}: every edge` });
    set(caption, { text: head.probs === "simplex" ? "middle: all alike · corner: decided" : "by the shares of the weights · middle: all alike · corner: one alone" });
  }

  return { elements: [title, svg, caption], update };
}
