// Plumbing: diagrams of one real step. Python says what is lit in which frame, the page walks through the frames.

const PAUSE = 1600;

function plumbingView(model) {
  const shown = () => model.get("shown");
  let frame = 1, timer = null;

  const chips = make("span", { class: "chips", role: "group", "aria-label": "half steps" });
  const button = (text, label, act) => {
    const node = make("button", { type: "button", class: "btn", text, "aria-label": label, title: label });
    node.addEventListener("click", act);
    return node;
  };
  const back = button("◀", "back", () => { stop(); go(frame - 1); });
  const on = button("▶", "on", () => { stop(); go(frame + 1); });
  const play = button("Play", "play", () => (timer ? stop() : start()));
  const again = button("One more real iteration", "one more real iteration", () => model.send({ kind: "command", name: "advance", payload: {} }));
  const count = make("span", { class: "note" });
  const drawing = make("div", { role: "img" }), trouble = make("div", { class: "trouble", role: "alert" });
  const root = make("div", { class: "nasviz plumbed", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "plumbing" },
      make("div", { class: "bar" }, back, on, play, chips, make("span", { class: "grow" }), count, again), drawing, trouble));

  function start() {
    timer = setInterval(() => go((frame + 1) % shown().frames.length), PAUSE);
    set(play, { text: "Pause", "aria-label": "pause" });
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    set(play, { text: "Play", "aria-label": "play" });
  }

  function go(to) {
    const { frames } = shown();
    frame = clamp(to, 0, frames.length - 1);
    const name = frames[frame][0];
    [...chips.children].forEach((chip, k) => { chip.classList.toggle("on", k === frame); set(chip, { "aria-pressed": k === frame }); });
    set(back, { disabled: frame === 0 });
    set(on, { disabled: frame === frames.length - 1 });
    drawing.querySelectorAll("[data-frame]").forEach((node) => set(node, { "data-frame": name }));
    drawing.querySelectorAll("[data-lit]").forEach((node) => node.classList.toggle("on", node.dataset.lit.split(", ").includes(name)));
    set(drawing, { "aria-label": frames[frame][2] });
    set(root, { "data-shown": name });
  }

  function update() {
    const { frames, svg, iteration } = shown();
    chips.replaceChildren(...frames.map(([, text], k) => {
      const chip = make("button", { type: "button", class: "chip", text });
      chip.addEventListener("click", () => { stop(); go(k); });
      return chip;
    }));
    drawing.innerHTML = svg;  // written by nasviz.labs.plumbing; words in it are escaped there
    set(count, { text: `iteration ${iteration}` });
    set(trouble, { text: model.get("status").error ?? "" });
    go(frame);
  }
  return { root, update, stop };
}

export default {
  render({ model, el }) {
    const { root, update, stop } = plumbingView(model);
    el.append(root);
    for (const name of ["shown", "status"]) model.on(`change:${name}`, update);
    update();
    return () => { stop(); for (const name of ["shown", "status"]) model.off(`change:${name}`, update); };
  },
};
