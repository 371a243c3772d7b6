// A controller: its decisions in a row, drawn by Python. A click on an option takes it, and what comes after answers.

const LOOK_AGAIN = 1000;  // milliseconds between two looks at a run that goes on

function controllerView(model) {
  const shown = () => model.get("shown");
  const send = (name, payload = {}) => model.send({ kind: "command", name, payload });
  const button = (text, name) => {
    const node = make("button", { type: "button", class: "btn", text });
    node.addEventListener("click", () => send(name));
    return node;
  };
  const title = make("h1"), pill = make("span", { class: "pill" });
  const slider = make("input", { type: "range", min: 0, "aria-label": "moment of its learning" });
  const back = button("Back to the child drawn", "release");
  const drawing = make("div", { class: "wide" }), said = make("p", { class: "said", role: "status" }), trouble = make("div", { class: "trouble", role: "alert" });
  const root = make("div", { class: "nasviz decider", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "a controller" },
      make("div", { class: "bar" }, title, make("span", { class: "grow" }), pill),
      make("div", { class: "bar" }, make("span", { class: "note", text: "learning" }), make("span", { class: "knob learning" }, slider), button("Another child", "draw"), back,
        make("span", { class: "note", text: "click an option to take it" })),
      drawing, said, trouble));
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));

  const look = atMostEvery(40, (at) => send("look", { at }));
  slider.addEventListener("input", () => look(Number(slider.value)));
  const take = (decision, option) => send("take", { decision: Number(decision), option: Number(option) });
  drawing.addEventListener("click", ({ target }) => {
    const option = target.closest(".seg"), decision = target.closest(".decision");
    if (option && shown().options[decision.dataset.t].includes(Number(option.dataset.k))) take(decision.dataset.t, option.dataset.k);
  });
  drawing.addEventListener("keydown", (event) => {
    const decision = event.target.closest(".decision"), step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const along = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    if (!decision || !(step || along)) return;
    event.preventDefault();
    if (along) {
      let other = decision[along];
      while (other && !other.matches(".decision")) other = other[along];
      if (other) focusOn(other);
      return;
    }
    const t = Number(decision.dataset.t), allowed = shown().options[t], place = allowed.indexOf(shown().taken[t]);
    take(t, allowed[(place + step + allowed.length) % allowed.length]);
  });

  function focusOn(decision) {
    for (const node of drawing.querySelectorAll(".decision")) set(node, { tabindex: node === decision ? 0 : -1 });
    decision.focus();
  }

  function update() {
    const data = shown(), held = drawing.contains(document.activeElement) ? document.activeElement.closest(".decision")?.dataset.t : null;
    drawing.innerHTML = data.svg;  // written by nasviz.labs.controller_picture; names are escaped there
    for (const node of drawing.querySelectorAll(".decision")) set(node, { tabindex: node.dataset.t === (held ?? "0") ? 0 : -1 });
    if (held != null) drawing.querySelector(`.decision[data-t="${held}"]`).focus();
    set(title, { text: data.title });
    set(pill, { text: data.moments[data.at] + (data.grows ? ", still learning" : "") });
    set(slider, { max: data.moments.length - 1, "aria-valuetext": data.moments[data.at] });
    if (document.activeElement !== slider || data.at === data.moments.length - 1) slider.value = data.at;
    slider.style.setProperty("--filled", `${(100 * data.at) / Math.max(data.moments.length - 1, 1)}%`);
    show(back, data.forced.length);
    set(said, { text: data.said });
    set(trouble, { text: model.get("status").error ?? "" });
    Object.assign(root.dataset, { at: data.at, forced: data.forced.join(" "), taken: data.taken.join(" "), moments: data.moments.length });
  }

  const timer = setInterval(() => { if (shown().grows) send("refresh"); }, LOOK_AGAIN);
  return { root, update, stop: () => clearInterval(timer) };
}

export default {
  render({ model, el }) {
    const { root, update, stop } = controllerView(model);
    el.append(root);
    for (const name of ["shown", "status"]) model.on(`change:${name}`, update);
    update();
    return () => { stop(); for (const name of ["shown", "status"]) model.off(`change:${name}`, update); };
  },
};
