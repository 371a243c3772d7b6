// The cells. Paths come from Python once; here only widths, opacities and labels change.

const TABS = [["distribution", "distribution p"], ["sample", "sample z"], ["child", "derived child"]];

// What is drawn in full although the child leaves some of it out.
const WHOLE = ["sample", "searched"];

function cellsPanel(store) {
  const panel = make("section", { class: "panel cells", "aria-label": "cells" });
  const tabs = make("div", { class: "chips tabs", role: "tablist", "aria-label": "what the strands show" });
  const drawings = make("div", { class: "drawings" });
  const keys = make("div", { class: "legend" });
  let views = [], shownHead = null;

  for (const [name, label] of TABS) {
    const tab = make("button", { type: "button", class: "chip", role: "tab", "aria-label": name, text: label });
    tab.dataset.tab = name;
    tab.addEventListener("click", () => { store.tab = name; store.changed(); });
    tab.addEventListener("keydown", (event) => stepFocus(event, [...tabs.children], "ArrowLeft", "ArrowRight", (next) => next.click()));
    tabs.append(tab);
  }
  const bar = make("div", { class: "row" }, tabs);
  panel.append(bar, drawings, keys);

  function build() {
    const { setup, rows } = store;
    shownHead = rows.head;
    views = rows.head.cells.map((name, cell) => cellView(store, cell, name));
    drawings.replaceChildren(...views.map((view) => view.element));
    bar.replaceChildren(views[0].title, make("span", { class: "grow" }), tabs);
    legend(keys, setup, rows.head);
  }

  return {
    element: panel,
    update() {
      if (!store.rows) return;
      if (store.rows.head !== shownHead) build();
      set(tabs.firstChild, { text: `${store.rows.head.reading.whole} ${store.rows.head.reading.symbol}` });
      for (const tab of tabs.children) {
        const on = tab.dataset.tab === store.tab;
        tab.classList.toggle("on", on);
        set(tab, { "aria-selected": String(on), tabindex: on ? 0 : -1 });
      }
      if (store.t >= 0) for (const view of views) view.update();
    },
  };
}

// Arrow keys move the focus within a group of which only one element is in the tab order.
function stepFocus(event, group, back, forth, then = () => {}) {
  const step = { [back]: -1, [forth]: 1 }[event.key];
  if (!step) return;
  const next = group[(group.indexOf(event.currentTarget) + step + group.length) % group.length];
  for (const element of group) set(element, { tabindex: element === next ? 0 : -1 });
  next.focus();
  then(next);
  event.preventDefault();
  event.stopPropagation();
}

function cellView(store, cell, name) {
  const { setup, rows: { head } } = store;
  const title = make("h2");
  const box = make("div", { class: "drawing" });
  box.innerHTML = setup.skeletons[cell];  // written by nasviz.svg; names in it are escaped there
  const groups = [...box.querySelectorAll(".edge")];
  const edges = groups.map((group) => {
    const edge = Number(group.dataset.edge), key = `${name}:${edge}`;
    const pin = () => store.cursor.move({ edge: store.cursor.edge === key ? "" : key });
    group.addEventListener("pointerenter", () => store.cursor.move({ hover: key }));
    group.addEventListener("pointerleave", () => store.cursor.move({ hover: "" }));
    group.addEventListener("click", pin);
    group.addEventListener("focus", () => { if (group.matches(":focus-visible")) store.cursor.move({ hover: key }); });
    group.addEventListener("blur", () => store.cursor.move({ hover: "" }));
    group.addEventListener("keydown", (event) => {
      stepFocus(event, groups, "ArrowUp", "ArrowDown");
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      pin();
    });
    const strands = [...group.querySelectorAll(".strand")].map((path) => ({ op: head.ops.indexOf(path.dataset.op), path, drawn: -1, gone: false }));
    return { edge, key, group, strands, bar: group.querySelector(".credit"), label: box.querySelector(`.label[data-edge="${edge}"]`) };
  });

  function weight(t, edge, op) {
    const { rows, tab } = store;
    if (tab === "child") return rows.at("derived", t, cell, edge) === op ? 1 : 0;
    if (tab === "own") return rows.ownOp(t, cell, edge) === op ? 1 : 0;
    return rows.at(tab === "sample" ? "gates" : "probs", t, cell, edge, op);
  }

  function update() {
    const { rows, t, cursor } = store;
    let living = 0;
    for (const { edge, key, group, strands, bar, label } of edges) {
      const alive = store.tab === "own" ? rows.ownOp(t, cell, edge) >= 0 : rows.at("alive", t, cell, edge) === 1;
      living += alive;
      group.classList.toggle("dead", !alive && !WHOLE.includes(store.tab));
      group.classList.toggle("pinned", cursor.edge === key);
      group.classList.toggle("pointed", cursor.hover === key);
      let best = strands[0].op, most = -1;
      for (const strand of strands) {
        const found = weight(t, edge, strand.op), p = isNumber(found) ? found : 0;
        paintStrand(strand, clamp(p, 0, 1), setup);
        const gone = rows.pruned(t, cell, edge, strand.op);
        if (gone !== strand.gone) strand.path.style.visibility = gone ? "hidden" : "";
        strand.gone = gone;
        if (p > most) [most, best] = [p, strand.op];
      }
      paintBar(bar, rows.at("contribution", t, cell, edge) / rows.creditScale, setup.bar);
      const says = `${setup.labels[best]} ${share(most)}`;
      set(label, { text: key === cursor.hover || key === cursor.edge ? says : "" });
      set(group, { "aria-label": `${name} ${setup.edges[edge]}: ${says}${alive ? "" : ", dead"}`,
                   "aria-pressed": String(cursor.edge === key) });
    }
    set(title, { text: `${setup.cellNames[cell]} · ${living} of ${edges.length} edges` });
  }

  return { element: make("figure", { class: "cell-figure" }, title, box), title, update };
}

const between = ([low, high], share) => low + (high - low) * share;

function paintStrand(strand, size, setup) {
  if (Math.abs(size - strand.drawn) < 1e-4) return;
  strand.drawn = size;
  strand.path.style.strokeWidth = between(setup.width, size).toFixed(2);
  strand.path.style.strokeOpacity = between(setup.opacity, Math.sqrt(size)).toFixed(3);
}

function paintBar(bar, contribution, longest) {
  const length = Math.min(Math.abs(contribution) || 0, 1) * longest, middle = Number(bar.dataset.x);
  set(bar, { x: (contribution > 0 ? middle : middle - length).toFixed(1), width: length.toFixed(1) });
  bar.classList.toggle("helps", contribution > 0);
  bar.classList.toggle("hurts", !(contribution > 0));
}

function legend(list, setup, head, credit = true) {
  list.replaceChildren(...head.ops.map((op, k) => {
    const key = draw("svg", { viewBox: "0 0 16 4", "aria-hidden": "true" }, draw("path",
      { d: "M0,2H16", stroke: setup.colours[k], "stroke-width": 4, "stroke-dasharray": op === "none" ? "3 3" : null }));
    return make("span", {}, key, setup.labels[k]);
  }), make("span", { text: head.reading.strand }),
  ...(credit ? [make("span", { text: `bar at the head: credit, mean of ${setup.window} rows, ■ helps, □ hurts` })] : []));
}
