// Credit on a cell: pictures drawn by Python; the page switches the method, pins an edge, drags a gate.

function creditView(model) {
  const shown = () => model.get("shown");
  const send = (name, value) => model.send({ kind: "command", name, payload: { value } });
  const sendGate = atMostEvery(30, (value) => send("gate", value));

  const chips = (name, label) => make("div", { class: "chips", role: "group", "aria-label": label, "data-name": name });
  const methods = chips("method", "who gives the credit"), truths = chips("truth", "the loss over the gate");
  const cell = make("div", { class: "drawing" }), tape = make("div"), gate = make("div", { class: "plot" });
  const said = make("p", { class: "said", role: "status" }), trouble = make("div", { class: "trouble", role: "alert" });
  const option = make("select", { "aria-label": "operation of the pinned edge" });
  const edge = make("span", { class: "note" });
  const backwards = make("input", { type: "checkbox" });
  const order = make("label", { class: "bar note" }, backwards, "decide from the last edge to the first");
  const slider = make("input", { type: "range", min: 0, "aria-label": "gate" });
  const button = (text, name) => {
    const node = make("button", { type: "button", class: "btn", text });
    node.addEventListener("click", () => send(name));
    return node;
  };
  const root = make("div", { class: "nasviz oncell", "data-lm-suppress-shortcuts": "true" },
    make("div", { class: "sides" },
      make("section", { class: "panel", "aria-label": "credit on the cell" }, methods, cell, tape,
        make("div", { class: "bar" }, edge, option, button("Another child", "draw"), button("The best child", "best"), order)),
      make("section", { class: "panel", "aria-label": "one gate" }, truths, gate, slider,
        make("p", { class: "note", text: "Line: the true loss. Blue: its tangent at the gate you drag, which is what a gradient knows. Ring: the loss without the operation." }))),
    said, trouble);
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));

  for (const group of [methods, truths]) group.addEventListener("click", ({ target }) => {
    const chip = target.closest(".chip");
    if (chip) send(group.dataset.name, chip.dataset.value);
  });
  const pin = (event) => {
    const found = event.target.closest(".edge");
    if (!found) return;
    event.preventDefault();
    send("edge", Number(found.dataset.edge));
  };
  cell.addEventListener("click", pin);
  cell.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") return pin(event);
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key], count = shown().edges.length;
    if (!step || !event.target.closest(".edge")) return;
    event.preventDefault();
    send("edge", (shown().edge + step + count) % count);
  });
  option.addEventListener("change", () => send("option", Number(option.value)));
  backwards.addEventListener("change", () => send("backwards", backwards.checked));
  slider.addEventListener("input", () => sendGate(Number(slider.value)));

  // The point on the curve is dragged as well: where the pointer is, in the picture's own pixels.
  function drag({ clientX }) {
    const { frame: [left, right], points } = shown(), picture = gate.querySelector("svg");
    const at = new DOMPoint(clientX, 0).matrixTransform(picture.getScreenCTM().inverse()).x;
    slider.value = Math.round(clamp((at - left) / (right - left), 0, 1) * (points - 1));
    sendGate(Number(slider.value));
  }
  gate.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    gate.setPointerCapture(event.pointerId);
    slider.focus();
    drag(event);
  });
  gate.addEventListener("pointermove", (event) => { if (gate.hasPointerCapture(event.pointerId)) drag(event); });

  function fill(group, items, chosen) {
    if (group.children.length !== items.length) group.replaceChildren(...items.map(([value, text]) =>
      make("button", { type: "button", class: "chip", "data-value": value, text })));
    for (const chip of group.children) {
      const on = chip.dataset.value === chosen;
      chip.classList.toggle("on", on);
      set(chip, { "aria-pressed": String(on) });
    }
  }

  function update() {
    const data = shown();
    fill(methods, data.methods, data.method);
    fill(truths, data.truths, data.truth);
    const held = cell.contains(document.activeElement);
    cell.innerHTML = data.cell;  // written by nasviz.labs.credit_picture, as the next two; names are escaped there
    tape.innerHTML = data.tape;
    gate.innerHTML = data.gate;
    for (const node of cell.querySelectorAll(".edge")) set(node, { tabindex: Number(node.dataset.edge) === data.edge ? 0 : -1 });
    if (held) cell.querySelector(".edge.pinned").focus();
    set(edge, { text: `${data.edges[data.edge]}:` });
    option.replaceChildren(...data.options.map((text, value) => make("option", { value, text })));
    option.value = data.option;
    show(order, data.ordered);
    backwards.checked = data.backwards;
    set(slider, { max: data.points - 1, "aria-valuetext": data.told });
    if (document.activeElement !== slider) slider.value = data.at;  // or an answer on its way would pull the hand back
    set(said, { text: data.said });
    set(trouble, { text: model.get("status").error ?? "" });
    root.classList.toggle("advantage", data.advantage);
    Object.assign(root.dataset, { method: data.method, truth: data.truth, edge: data.edge, at: data.at });
  }
  return { root, update };
}

export default {
  render({ model, el }) {
    const { root, update } = creditView(model);
    el.append(root);
    for (const name of ["shown", "status"]) model.on(`change:${name}`, update);
    update();
    return () => { for (const name of ["shown", "status"]) model.off(`change:${name}`, update); };
  },
};
