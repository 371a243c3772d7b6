// The cells. Paths come from Python once; here only widths, opacities and labels change.

function cellsPanel(store) {
  const panel = make("section", { class: "panel cells", "aria-label": "cells" });
  const tabs = make("div", { class: "chips", role: "tablist", "aria-label": "what the strands show" });
  const views = [];
  let shownHead = null;

  for (const [name, label] of [["distribution", "distribution p"], ["sample", "this step's sample z"],
                               ["child", "derived child"]]) {
    const tab = make("button", { type: "button", class: "chip", role: "tab", "aria-label": name, text: label });
    tab.addEventListener("click", () => { store.tab = name; store.changed(); });
    tab.dataset.tab = name;
    tabs.append(tab);
  }

  function build() {
    const { setup, rows } = store;
    shownHead = rows.head;
    views.length = 0;
    panel.replaceChildren();
    rows.head.cells.forEach((name, cell) => {
      const title = make("h2", { text: "" });
      const bar = make("div", { class: "row" }, title);
      if (cell === 0) bar.append(tabs);
      const box = make("div", { class: "drawing" });
      box.innerHTML = setup.skeletons[cell];  // written by nasviz.picture; names in it are escaped there
      panel.append(bar, box);
      views.push(cellView(store, cell, name, title, box));
    });
    panel.append(legend(store));
  }

  return {
    element: panel,
    update() {
      if (!store.rows) return;
      if (store.rows.head !== shownHead) build();
      for (const tab of tabs.children) {
        const on = tab.dataset.tab === store.tab;
        tab.classList.toggle("on", on);
        set(tab, { "aria-selected": on });
      }
      if (store.t >= 0) for (const view of views) view.update();
    },
  };
}

function cellView(store, cell, name, title, box) {
  const { head } = store.rows;
  const edges = [...box.querySelectorAll(".edge")].map((group) => {
    const edge = Number(group.dataset.edge);
    const key = `${name}:${edge}`;
    group.addEventListener("pointerenter", () => store.cursor.move({ hover: key }));
    group.addEventListener("pointerleave", () => store.cursor.move({ hover: "" }));
    const pin = () => store.cursor.move({ edge: store.cursor.edge === key ? "" : key });
    group.addEventListener("click", pin);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); pin(); }
    });
    const bar = group.querySelector(".credit");
    return { edge, key, group, bar, foot: Number(bar.getAttribute("y")),
             label: box.querySelector(`.label[data-edge="${edge}"]`),
             strands: [...group.querySelectorAll(".strand")].map((path) => [head.ops.indexOf(path.dataset.op), path]) };
  });

  function weight(t, edge, op) {
    const { rows, tab } = store;
    if (tab === "child") return rows.at("derived", t, cell, edge) === op ? 1 : 0;
    return rows.at(tab === "sample" ? "gates" : "probs", t, cell, edge, op);
  }

  function update() {
    const { rows, t, setup } = store;
    let living = 0;
    for (const { edge, key, group, bar, foot, label, strands } of edges) {
      const alive = rows.at("alive", t, cell, edge) === 1;
      living += alive;
      group.classList.toggle("dead", !alive);
      group.classList.toggle("pinned", store.cursor.edge === key);
      let best = 0, most = -1;
      for (const [op, path] of strands) {
        const p = weight(t, edge, op);
        const size = Number.isFinite(p) ? clamp(p, 0, 1) : 0;
        path.style.strokeWidth = (setup.width[0] + (setup.width[1] - setup.width[0]) * size).toFixed(2);
        path.style.strokeOpacity = (setup.opacity[0] + (setup.opacity[1] - setup.opacity[0]) * Math.sqrt(size)).toFixed(3);
        if (size > most) { most = size; best = op; }
      }
      const share = clamp(rows.at("share", t, cell, edge) / rows.creditScale || 0, -1, 1);
      const height = Math.abs(share) * setup.creditHeight;
      bar.setAttribute("y", share > 0 ? foot - height : foot);
      bar.setAttribute("height", height.toFixed(1));
      bar.classList.toggle("helps", share > 0);
      bar.classList.toggle("hurts", share <= 0);
      const says = `${setup.labels[best]} ${short(most)}`;
      const shown = key === store.cursor.hover || key === store.cursor.edge;
      label.textContent = shown ? says : "";
      const spoken = `${name} ${setup.edges[edge]}: ${says}${alive ? "" : ", dead"}`;
      if (group.getAttribute("aria-label") !== spoken) group.setAttribute("aria-label", spoken);
    }
    title.textContent = `${setup.cellNames[cell]} · ${living} of ${edges.length} edges`;
  }

  return { update };
}

function legend(store) {
  const { setup, rows } = store;
  const list = make("div", { class: "legend" });
  rows.head.ops.forEach((op, k) => {
    const key = make("i");
    key.style.borderTop = `4px ${op === "none" ? "dashed" : "solid"} ${setup.colours[k]}`;
    list.append(make("span", {}, key, setup.labels[k]));
  });
  list.append(make("span", { text: "one strand an op, as wide as its probability" }),
              make("span", { text: "bar at an arrow's head: credit, filled helps, hollow hurts" }));
  return list;
}
