// A picture drawn by Python with one point to drag. The page only says where the point is.

const NUDGE = 0.05;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

function planeView(model) {
  const paper = make("div", { class: "paper", tabindex: 0, role: "slider", "aria-label": "a point to drag" });
  const trouble = make("p", { class: "trouble" });
  const root = make("div", { class: "nasviz plane", "data-lm-suppress-shortcuts": "true" }, paper, trouble);
  paper.setAttribute("data-lm-suppress-shortcuts", "true");
  // The picture is light on any theme, as the lessons' other pictures: out of reach of the views' style.
  const sheet = paper.attachShadow({ mode: "open" });
  const drawing = make("div");
  sheet.append(make("style", { text: "svg { display: block; max-width: 100%; height: auto; user-select: none; }" }), drawing);
  const send = atMostEvery(30, () => model.save_changes());

  function move(x, y) {
    const { low, high } = model.get("shown");
    model.set("x", clamp(x, low, high));
    model.set("y", clamp(y, low, high));
    send();
  }

  // Where a pointer is, in the plane's own units.
  function place({ clientX, clientY }) {
    const { frame: [left, top, right, bottom], low, high } = model.get("shown");
    const at = new DOMPoint(clientX, clientY).matrixTransform(drawing.querySelector("svg").getScreenCTM().inverse());
    const unit = (high - low) / (right - left);
    return [low + (at.x - left) * unit, low + (bottom - at.y) * ((high - low) / (bottom - top))];
  }

  paper.addEventListener("pointerdown", (event) => {
    const [x, y] = place(event), { low, high } = model.get("shown");
    if (event.button || Math.min(x, y) < low || Math.max(x, y) > high) return;
    event.preventDefault();
    paper.focus();
    paper.setPointerCapture(event.pointerId);  // of the sheet: the picture in it is replaced while one drags
    move(x, y);
  });
  paper.addEventListener("pointermove", (event) => {
    if (paper.hasPointerCapture(event.pointerId)) move(...place(event));
  });
  paper.addEventListener("keydown", (event) => {
    const step = MOVES[event.key];
    if (!step) return;
    event.preventDefault();
    const size = event.shiftKey ? NUDGE / 5 : NUDGE;
    move(model.get("x") + step[0] * size, model.get("y") + step[1] * size);
  });

  function update() {
    const { svg = "", text = "", low = 0, high = 1 } = model.get("shown");
    drawing.innerHTML = svg;  // written by nasviz.labs.drawing; words in it are escaped there
    set(paper, { "aria-valuetext": text, "aria-valuemin": low, "aria-valuemax": high, "aria-valuenow": model.get("x") });
    set(trouble, { text: model.get("status").error ?? "" });
  }
  return { root, update };
}

export default {
  render({ model, el }) {
    const { root, update } = planeView(model);
    el.append(root);
    const names = ["shown", "status"];
    for (const name of names) model.on(`change:${name}`, update);
    update();
    return () => { for (const name of names) model.off(`change:${name}`, update); };
  },
};
