// Searched against derived: the distribution of the row at the cursor beside the child that is cut out of it, by argmax
// and by the method's own rule, and what the cut costs.

const RULE_NAMES = { argmax: "argmax", top2: "top 2" };

function derivedPanel(store) {
  const columns = make("div", { class: "columns" }), keys = make("div", { class: "legend" }), costs = make("div", { class: "costs" });
  const panel = make("section", { class: "panel derived", "aria-label": "searched and derived" }, columns, keys, costs);
  let shownHead = null, views = [], bars = [];

  function build() {
    const { head } = store.rows;
    shownHead = head;
    const own = head.ownRule !== "argmax";
    const kinds = [["searched", `searched: the ${head.reading.whole} ${head.reading.symbol}`], ["child", "derived: argmax"],
                   ...(own ? [["own", `derived: its own rule, ${RULE_NAMES[head.ownRule] ?? head.ownRule}`]] : [])];
    views = [];
    columns.replaceChildren(...kinds.map(([tab, title]) => {
      const as = Object.create(store, { tab: { value: tab } });  // the same rows and cursor, another way to draw them
      const mine = head.cells.map((name, cell) => cellView(as, cell, name));
      views.push(...mine);
      return make("div", { class: "column" }, make("h2", { text: title }), ...mine.map((view) => view.element));
    }));
    columns.dataset.count = kinds.length;
    legend(keys, store.setup, head, false);
    bars = costBars(store, own);
    costs.replaceChildren(...bars.map((group) => group.element));
  }

  return {
    element: panel,
    update() {
      if (!store.rows || store.t < 0) return;
      if (store.rows.head !== shownHead) build();
      for (const view of views) view.update();
      for (const group of bars) group.update();
    },
  };
}

// Bars from 0 to 1, each with its value; a difference stands beside it.
function costBars(store, own) {
  const metric = (name) => (t) => store.rows.latest(name, t);
  const accuracy = [
    ["supernet", metric("accuracy")],
    ["child, inherited statistics", metric("child_accuracy"), "by cutting"],
    ["child, recalibrated", metric("child_accuracy_recalibrated"), "by recalibrating"],
    ...(store.setup.retrained == null ? [] : [["child, retrained", () => store.setup.retrained, "by retraining"]]),
    ["a random child, recalibrated", metric("random_child_accuracy")],
  ];
  const outside = (k) => (t) => store.rows.outside[k][t] ?? null;
  const left = [["argmax", outside(0)], ...(own ? [["own rule", outside(1)]] : [])];
  return [["accuracy on validation data (argmax's child)", accuracy], [`share of the ${store.rows.head.reading.whole} outside the child`, left]].map(([title, lines]) => {
    const views = lines.map(([label, read, by]) => {
      const fill = make("i"), value = make("span", { class: "value" }), change = make("span", { class: "note" });
      return { read, by, fill, value, change, nodes: [make("span", { class: "label", text: label }), make("div", { class: "meter" }, fill), value, change] };
    });
    const element = make("div", { class: "meters" }, make("h3", { text: title }), ...views.flatMap((view) => view.nodes));
    function update() {
      let before = null;
      for (const { read, by, fill, value, change } of views) {
        const now = read(store.t);
        fill.style.width = `${100 * clamp(now ?? 0, 0, 1)}%`;
        set(value, { text: isNumber(now) ? now.toFixed(3).replace(/^0\./, ".") : "–" });
        set(change, { text: by && isNumber(now) && isNumber(before) ? `${signed(now - before)} ${by}` : "" });
        before = now;
      }
    }
    return { element, update };
  });
}
