// The knobs a method declares, as sliders; presets; and the numbers of the edge one looks at.

const GROUPS = { main: "", resources: "what is priced", temperature: "temperature", learning: "learning rates" };

// A slider runs from 0 to 1000. With `log` equal steps multiply; if the lowest value is 0 it is linear near 0.
function scale(knob) {
  const { low, high, log } = knob;
  if (!log) return { to: (v) => (v - low) / (high - low), from: (s) => low + s * (high - low) };
  if (low > 0) return { to: (v) => Math.log(v / low) / Math.log(high / low), from: (s) => low * (high / low) ** s };
  const bend = high / 200, most = Math.asinh(high / bend);
  return { to: (v) => Math.asinh(v / bend) / most, from: (s) => bend * Math.sinh(s * most) };
}

function knobsPanel(store) {
  const panel = make("section", { class: "panel knobs", "aria-label": "knobs" });
  const details = make("div", { class: "numbers", "aria-label": "edge" });
  let views = [], shown = null, presets = [];
  store.wishes = {};

  function change(name, value) {
    store.wishes[name] = value;
    store.send("set", { [name]: value });
    store.changed();
  }

  function build() {
    const { head } = store.rows;
    shown = head;
    views = [];
    panel.replaceChildren(make("h2", { text: "knobs" }));
    const boxes = {};
    for (const [name, knob] of Object.entries(head.knobs)) {
      const view = knob.toggle ? toggleView(name, knob, change) : sliderView(name, knob, change);
      views.push({ name, knob, ...view });
      const group = knob.group ?? "main";
      if (!boxes[group]) {
        boxes[group] = group === "main" ? make("div") : make("details", {}, make("summary", { text: GROUPS[group] ?? group }));
        if (group === "temperature") boxes[group].open = true;
      }
      boxes[group].append(view.element);
      if (name === "lam") boxes[group].append(presetChips(head.presets));
    }
    panel.append(...Object.values(boxes), details);
  }

  function presetChips(found) {
    presets = Object.entries(found).map(([name, preset]) => {
      const chip = make("button", { type: "button", class: "chip", "aria-label": name, title: preset.means, text: name });
      chip.addEventListener("click", () => {
        Object.assign(store.wishes, preset.knobs);
        store.send("preset", { name });
        store.send("set", preset.knobs);
        store.changed();
      });
      return { chip, preset };
    });
    if (!presets.length) return make("span");
    const means = presets.slice(1).map(({ preset }, k) => `${Object.keys(found)[k + 1]}: ${preset.means}`).join(" · ");
    return make("div", { class: "presets" }, make("div", { class: "chips", role: "group", "aria-label": "penalty presets" },
      ...presets.map(({ chip }) => chip)), make("p", { class: "note", text: means }));
  }

  function update() {
    if (!store.rows) return;
    if (store.rows.head !== shown) build();
    const { rows, t, live } = store;
    for (const view of views) {
      const value = store.wishes[view.name] ?? rows.values[view.name] ?? view.knob.value;
      view.update(value, !live, view.name === "tau" ? rows.latest("tau", t) : null);
    }
    for (const { chip, preset } of presets) {
      const on = Object.entries(preset.knobs).every(([name, value]) =>
        Math.abs((store.wishes[name] ?? rows.values[name] ?? NaN) - value) < 1e-9);
      chip.classList.toggle("on", on);
      chip.disabled = !live;
      set(chip, { "aria-pressed": on });
    }
    edgeNumbers(store, details);
  }
  return { element: panel, update };
}

// The accessible name is the label without its symbol: "penalty λ" is called penalty.
const spoken = (label) => label.replace(/\s+\S$/u, "");

function sliderView(name, knob, change) {
  const { to, from } = scale(knob);
  const value = make("output", { class: "value" });
  const slider = make("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": spoken(knob.label) });
  slider.addEventListener("input", () => change(name, Number(clamp(from(slider.value / 1000), knob.low, knob.high).toPrecision(3))));
  slider.addEventListener("pointerdown", () => { slider.dataset.held = "1"; });
  slider.addEventListener("pointerup", () => { delete slider.dataset.held; });
  const element = make("div", { class: "knob", title: knob.help }, make("div", { class: "row" },
    make("span", { text: knob.label }), value), slider);
  return { element, update(now, locked, effective) {
    slider.disabled = locked;
    if (!slider.dataset.held) slider.value = Math.round(1000 * to(clamp(now, knob.low, knob.high)));
    slider.style.setProperty("--filled", `${100 * to(clamp(now, knob.low, knob.high))}%`);
    const says = short(now) + (knob.unit ? ` ${knob.unit}` : "");
    value.textContent = effective != null && Math.abs(effective - now) > 0.005 ? `now ${short(effective)}` : says;
    slider.setAttribute("aria-valuetext", says);
  } };
}

function toggleView(name, knob, change) {
  const box = make("input", { type: "checkbox", "aria-label": knob.label });
  box.addEventListener("change", () => change(name, box.checked ? 1 : 0));
  const element = make("label", { class: "knob toggle", title: knob.help }, box, ` ${knob.label}`);
  return { element, update(now, locked) { box.checked = now > 0; box.disabled = locked; } };
}

// Task credit and the penalty's pull on each op of the chosen edge, most probable first.
function edgeNumbers(store, box) {
  const chosen = store.chosen;
  if (!chosen || store.t < 0) {
    box.replaceChildren(make("p", { class: "note", text: "Point at an edge to see its numbers; click to pin it." }));
    return;
  }
  const [cell, edge] = chosen;
  const { rows, t, setup } = store;
  const lam = rows.penalty(t);
  const entries = rows.head.ops.map((_, op) => op).filter((op) => rows.head.allowed[cell][edge][op])
    .map((op) => ({ op, p: rows.at("probs", t, cell, edge, op), credit: rows.at("credit", t, cell, edge, op),
                    price: lam * rows.price(t, cell, edge, op) }))
    .sort((a, b) => b.p - a.p);
  const signed = (value) => (Number.isFinite(value) ? (value > 0 ? "+" : value < 0 ? "−" : "") +
    Math.abs(value).toFixed(3).replace(/^0\./, ".") : "–");
  const key = (op) => { const node = make("i"); node.style.background = setup.colours[op]; return node; };
  const line = (entry) => make("tr", {}, make("td", {}, key(entry.op), setup.labels[entry.op]),
    make("td", { text: short(entry.p) }), make("td", { text: signed(entry.credit) }), make("td", { text: signed(-entry.price) }));
  const pinned = store.cursor.edge === `${rows.head.cells[cell]}:${edge}` ? "pinned" : "edge";
  box.replaceChildren(make("h3", { text: `${pinned}: ${rows.head.cells[cell]} ${setup.edges[edge]}` }),
    make("table", {}, make("tr", {}, ...["", "p", "task credit", "−λ·price"].map((text) => make("th", { text }))),
      ...entries.map(line)),
    make("p", { class: "note", text: "nats per unit of gate; what moves p is their sum, less its mean over the edge" }));
}
