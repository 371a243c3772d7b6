// The knobs a method declares, as sliders; presets; and the numbers of the edge one looks at.

const GROUPS = { main: "", resources: "what is priced", temperature: "temperature", learning: "learning rates" };

// A slider runs from 0 to 1000. With `log` equal steps multiply; if the lowest value is 0 it is linear near 0.
function scale({ low, high, log }) {
  if (!log) return { to: (v) => (v - low) / (high - low), from: (s) => low + s * (high - low) };
  if (low > 0) return { to: (v) => Math.log(v / low) / Math.log(high / low), from: (s) => low * (high / low) ** s };
  const bend = high / 200, most = Math.asinh(high / bend);
  return { to: (v) => Math.asinh(v / bend) / most, from: (s) => bend * Math.sinh(s * most) };
}

// The accessible name is the label without its symbol: "penalty λ" is called penalty.
const spoken = (label) => label.replace(/\s+\S$/u, "");

function knobsPanel(store) {
  const list = make("div");
  const numbers = make("div", { class: "numbers" });
  const hint = make("p", { class: "note" });
  const panel = make("section", { class: "panel knobs", "aria-label": "knobs" }, make("h2", { text: "Knobs" }), list, hint, numbers);
  let views = [], shownHead = null;

  function build() {
    shownHead = store.rows.head;
    views = [];
    list.replaceChildren();
    const boxes = new Map();
    const { knobs, presets } = shownHead;
    for (const [name, knob] of Object.entries(knobs)) {
      const group = knob.group ?? "main";
      if (!boxes.has(group)) boxes.set(group, groupBox(group, knobs));
      const view = name === "schedule" && knobs.tau ? scheduleView(store, knobs)
        : knob.toggle ? toggleView(store, name, knob) : sliderView(store, name, knob);
      views.push(view);
      boxes.get(group).append(view.element);
      if (name !== "lam" || !Object.keys(presets).length) continue;
      views.push(presetsView(store, presets));
      boxes.get(group).append(views.at(-1).element);
    }
    list.append(...boxes.values());
  }

  function update() {
    if (!store.rows) return;
    if (store.rows.head !== shownHead) build();
    for (const view of views) view.update();
    show(hint, store.live && store.isBack);
    set(hint, { text: "You are looking back: what you turn here is for a branch." });
    edgeNumbers(store, numbers);
  }
  return { element: panel, update };
}

function groupBox(group, knobs) {
  if (group === "main") return make("div");
  const box = make("details", {}, make("summary", { text: GROUPS[group] ?? group }));
  box.open = group === "temperature" && "tau" in knobs;
  return box;
}

function sliderView(store, name, knob) {
  const { to, from } = scale(knob);
  const value = make("output", { class: "value" });
  const slider = make("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": spoken(knob.label) });
  const element = make("div", { class: "knob", title: knob.help || null },
    make("div", { class: "row" }, make("span", { text: knob.label }), value), slider);
  slider.addEventListener("input", () => {
    const turned = { [name]: Number(clamp(from(slider.value / 1000), knob.low, knob.high).toPrecision(3)) };
    if (name === "tau" && "schedule" in store.rows.head.knobs) turned.schedule = 0;  // a temperature one sets is held
    store.turn(turned);
  });

  function update() {
    const now = store.knob(name), scheduled = name === "tau" && store.knob("schedule") > 0;
    const effective = scheduled ? store.rows.latest("tau", store.t) ?? now : now;
    const place = to(clamp(effective, knob.low, knob.high));
    slider.disabled = !store.live;
    if (Math.abs(Number(slider.value) - 1000 * place) > 0.5 + 4 * (document.activeElement === slider)) slider.value = Math.round(1000 * place);
    slider.style.setProperty("--filled", `${(100 * place).toFixed(1)}%`);
    const says = knob.off === now ? "off" : brief(effective) + (knob.unit ? ` ${knob.unit}` : "");
    set(value, { text: scheduled ? `now ${says}` : says });
    set(slider, { "aria-valuetext": says });
    element.classList.toggle("staged", name in store.staged);
  }
  return { element, update };
}

function toggleView(store, name, knob) {
  const box = make("input", { type: "checkbox", "aria-label": spoken(knob.label) });
  box.addEventListener("change", () => store.turn({ [name]: box.checked ? 1 : 0 }));
  const element = make("label", { class: "knob toggle", title: knob.help || null }, box, knob.label);
  const update = () => {
    box.checked = store.knob(name) > 0;
    box.disabled = !store.live;
  };
  return { element, update };
}

// The temperature follows its schedule or is held where it is.
function scheduleView(store, knobs) {
  const anneal = make("button", { type: "button", class: "chip", "aria-label": "schedule" });
  const hold = make("button", { type: "button", class: "chip", "aria-label": "hold", text: "hold" });
  anneal.addEventListener("click", () => store.turn({ schedule: 1 }));
  hold.addEventListener("click", () => store.turn({ schedule: 0, tau: store.rows.latest("tau", store.t) ?? knobs.tau.value }));
  const element = make("div", { class: "chips knob", role: "group", "aria-label": "temperature schedule" }, anneal, hold);
  function update() {
    const on = store.knob("schedule") > 0;
    set(anneal, { text: `schedule ${brief(store.knob("tau_start"))} → ${brief(store.knob("tau_end"))}` });
    for (const [chip, mine] of [[anneal, on], [hold, !on]]) {
      chip.classList.toggle("on", mine);
      chip.disabled = !store.live;
      set(chip, { "aria-pressed": String(mine) });
    }
  }
  return { element, update };
}

function presetsView(store, presets) {
  const chips = Object.entries(presets).map(([name, preset]) => {
    const chip = make("button", { type: "button", class: "chip", "aria-label": name, title: preset.means ?? null, text: name });
    chip.addEventListener("click", () => {
      store.send("preset", { name });
      store.turn(preset.knobs);
    });
    return { chip, preset };
  });
  const means = Object.entries(presets).filter(([name, { means }]) => means && name !== "none").map(([name, { means }]) => `${name}: ${means}`);
  const element = make("div", { class: "presets" },
    make("div", { class: "chips", role: "group", "aria-label": "presets" }, ...chips.map(({ chip }) => chip)),
    make("p", { class: "note", text: means.join(" · ") }));
  function update() {
    for (const { chip, preset } of chips) {
      const on = Object.entries(preset.knobs).every(([name, value]) => Math.abs(store.knob(name) - value) < 1e-9);
      chip.classList.toggle("on", on);
      chip.disabled = !store.live;
      set(chip, { "aria-pressed": String(on) });
    }
  }
  return { element, update };
}

// Task credit and the penalty's pull on each op of the chosen edge, most probable first.
function edgeNumbers(store, box) {
  const { chosen, rows, t, setup } = store;
  if (!chosen || t < 0) {
    box.replaceChildren(make("p", { class: "note", text: "Point at an edge to see its numbers; click to pin it." }));
    return;
  }
  const [cell, edge] = chosen, name = `${rows.head.cells[cell]}:${edge}`, lam = rows.penalties[t];
  const entries = rows.head.ops.map((_, op) => ({
    op, p: rows.at("probs", t, cell, edge, op), z: rows.at("gates", t, cell, edge, op),
    credit: rows.at("credit", t, cell, edge, op), price: lam * rows.price(t, cell, edge, op),
  })).filter(({ op }) => rows.head.allowed[cell][edge][op]).sort((a, b) => b.p - a.p);
  const cells = (...texts) => texts.map((text) => make("td", { text }));
  const key = (op) => { const node = make("i"); node.style.background = setup.colours[op]; return node; };
  const lines = entries.map(({ op, p, credit, price }) =>
    make("tr", {}, make("td", {}, key(op), setup.labels[op]), ...cells(rows.pruned(t, cell, edge, op) ? "gone" : share(p), signed(credit), signed(-price))));
  const total = (value) => entries.reduce((sum, entry) => sum + (entry.z ? entry.z * value(entry) : 0), 0);
  const sums = make("tr", { class: "sum" }, ...cells("as it stands, Σz·", "", signed(total(({ credit }) => credit)),
    signed(total(({ price }) => -price))));
  box.replaceChildren(
    make("h3", { text: `${store.cursor.edge === name ? "Pinned: " : ""}${rows.head.cells[cell]} ${setup.edges[edge]}` }),
    make("table", {}, make("tr", {}, ...["", rows.head.reading.symbol, "credit", "−λ·price"].map((text) => make("th", { text }))), ...lines, sums),
    make("p", { class: "note", text: `Nats a unit of gate, this step. A gradient step moves ${rows.head.reading.symbol} by ${rows.head.reading.moves}.` }));
}
