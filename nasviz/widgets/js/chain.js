// Values along a chain: thermometers now, states × sweeps over time, and V(s₀) below. All sweeps are here already:
// playing, stepping and scrubbing ask nobody. Blue is value, green is reward, purple what the reader has spoilt.

const TUBE = { top: 30, bottom: 146, half: 11, bulb: 17, height: 228 };
const TIME = { left: 40, right: 16, top: 36, row: 21, gap: 16, curve: 92, bottom: 34 };
const PACE = { slow: 620, whole: 7000 };  // milliseconds: of a sweep one can follow, of a play that one cannot
const DIGITS = "₀₁₂₃₄₅₆₇₈₉";
const state = (k) => `s${[...String(k)].map((digit) => DIGITS[digit]).join("")}`;

function chainView(model) {
  const send = (name, payload = {}) => model.send({ kind: "command", name, payload });
  const shown = () => model.get("shown");
  const now = { t: model.get("t"), covered: shown().covered, guess: null, key: "", asked: "", axis: 0, drawn: 0, wishes: {}, timer: null };
  let table = new Float32Array();
  const value = (n, k) => table[n * shown().delay + k];
  const last = () => shown().sweeps;

  const title = make("h1", { text: "Credit on a chain" }), pill = make("span", { class: "pill" });
  const button = (text, act, extra = "", label = null) => {
    const node = make("button", { type: "button", class: `btn ${extra}`, text, "aria-label": label });
    node.addEventListener("click", act);
    return node;
  };
  const play = button("Play", () => (now.timer ? stop() : start()), "main"), step = button("Step", () => { stop(); forward(); });
  const reset = button("Reset", () => { stop(); go(0); }), mend = button("Undo the error", () => send("mend"));
  const hide = make("input", { type: "checkbox", "aria-label": "hide what is to come" });
  hide.addEventListener("change", () => { now.covered = hide.checked; now.guess = null; guess.value = ""; if (hide.checked) { stop(); go(0); } update(); });
  const guess = make("input", { type: "number", min: 0, step: 1, "aria-label": "your guess" });
  guess.addEventListener("input", () => { now.guess = guess.value === "" ? null : Number(guess.value); update(); });
  const asked = make("label", { class: "bar ask" }, make("b", { text: "Predict" }), "V(s₀) reaches ½ after", guess, "sweeps. Then press Play.");

  const menus = Object.fromEntries(["rule", "step", "order", "reward"].map((name) => [name, chainMenu(name, (chosen) => wish(name, chosen))]));
  const sliders = { delay: chainSlider("delay T", "delay"), lam: chainSlider("trace λ", "lam") };
  for (const [name, { input }] of Object.entries(sliders)) input.addEventListener("input", () => wish(name, Number(input.value)));
  const tell = atMostEvery(30, () => send("choose", { ...now.wishes }));
  function wish(name, chosen) {
    now.wishes[name] = chosen;
    tell();
    controls();
  }

  const tubes = chainTubes(shown, (k, level) => { stop(); send("spoil", { sweep: now.t, state: k, value: level }); });
  const time = chainTime(shown, now, value, (n) => { stop(); go(n); });
  const said = make("p", { class: "notice said", "aria-live": "polite" }), law = make("p", { class: "note law" });
  const trouble = make("div", { class: "trouble", role: "alert" });
  const root = make("div", { class: "nasviz chain", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "credit on a chain" },
      make("div", { class: "bar" }, title, make("span", { class: "grow" }), make("label", { class: "bar note" }, hide, "hide what is to come"), pill),
      make("div", { class: "settings" }, ...["rule", "step", "order", "reward"].map((name) => menus[name].element), sliders.delay.element, sliders.lam.element),
      make("div", { class: "sides" },
        make("div", { class: "side" }, tubes.element, make("div", { class: "bar buttons" }, play, step, reset, mend, make("span", { class: "note", text: "drag a thermometer to spoil its value" }))),
        make("div", { class: "side" }, time.element)),
      asked, said, law, trouble));
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));

  // -- time

  function go(n, pass = 0) {
    now.t = clamp(n, 0, last());
    draw_(pass);
  }

  function forward(pass = PACE.slow) {
    if (now.t < last()) go(now.t + 1, pass);
  }

  function start() {
    if (now.t >= last()) go(0);
    const slow = last() * PACE.slow <= 2 * PACE.whole, from = time.share(now.t), began = performance.now();
    const tick = slow ? () => forward() : () => go(Math.max(now.t, Math.round(time.sweep(from + (performance.now() - began) / PACE.whole))));
    const each = () => { tick(); if (now.t >= last()) stop(); };
    now.timer = setInterval(each, slow ? PACE.slow : 33);
    each();
    buttons();
  }

  function stop() {
    clearInterval(now.timer);
    now.timer = null;
    buttons();
  }

  // -- what is drawn

  const open = () => !now.covered || now.t >= (shown().half[0] ?? last());

  function buttons() {
    set(play, { text: now.timer ? "Pause" : "Play" });
    step.disabled = now.t >= last();
    show(mend, shown().spoilt);
  }

  function controls() {
    const data = shown(), wished = { ...data.settings, ...now.wishes };
    for (const [name, menu] of Object.entries(menus)) menu.update(data.menus[name], wished[name]);
    sliders.delay.update(wished.delay, [1, data.longest, 1], wished.delay, false);
    sliders.lam.update(wished.lam, [0, 1, 0.05], share(wished.lam), wished.rule !== "lambda");
  }

  function draw_(pass = 0) {
    const data = shown();
    tubes.update(value, now.t, pass);
    time.update();
    set(pill, { text: `sweep ${now.t}${open() ? ` of ${data.sweeps}` : ""}` });
    show(asked, now.covered && !open());
    show(said, open());
    show(law, open() && data.law);
    const yours = open() && now.covered && now.guess !== null && data.half[0] !== null ? `You said ${now.guess}. ` : "";
    set(said, { text: yours + data.said });
    set(law, { text: data.law ? data.law.text : "" });
    buttons();
    Object.assign(root.dataset, { t: now.t, v: value(now.t, 0).toFixed(4) });
  }

  function update() {
    const data = shown(), { buffer, byteOffset, byteLength } = model.get("table");
    if (byteLength !== 4 * (data.sweeps + 1) * data.delay) return;  // the other half of the message is on its way
    table = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
    for (const [name, wished] of Object.entries(now.wishes)) if (data.settings[name] === wished || model.get("status").error) delete now.wishes[name];
    const question = JSON.stringify(data.settings);
    if (now.asked && now.asked !== question) {
      stop();
      if (now.covered) [now.t, now.guess, guess.value] = [0, null, ""];
      else if (now.key !== data.key) now.t = Math.round(time.sweep(now.axis));  // another axis: as far along it as before
    }
    [now.key, now.asked] = [data.key, question];
    now.t = clamp(now.t, 0, data.sweeps);
    hide.checked = now.covered;
    set(trouble, { text: model.get("status").error ?? "" });
    controls();
    draw_();
    Object.assign(root.dataset, { ...data.settings, sweeps: data.sweeps, half: data.half[0] ?? "", drawn: ++now.drawn });
  }

  return { root, update, stop };
}

// Tells a new width; a new height is of one's own making.
function onWidth(element, tell) {
  let width = 0;
  new ResizeObserver(([{ contentRect }]) => { if (contentRect.width !== width) tell(width = contentRect.width); }).observe(element);
}

// A named row of choices, one of them on.
function chainMenu(name, choose) {
  const chips = make("div", { class: "chips", role: "group" });
  const label = make("span", { class: "note" });
  let known = "";
  return {
    element: make("div", { class: "setting" }, label, chips),
    update({ title, options }, chosen) {
      set(label, { text: title });
      set(chips, { "aria-label": title });
      if (known !== JSON.stringify(options)) {
        known = JSON.stringify(options);
        chips.replaceChildren(...options.map(([key, text]) => {
          const chip = make("button", { type: "button", class: "chip", text });
          chip.dataset.key = key;
          chip.addEventListener("click", () => choose(key));
          return chip;
        }));
      }
      for (const chip of chips.children) {
        chip.classList.toggle("on", chip.dataset.key === chosen);
        set(chip, { "aria-pressed": String(chip.dataset.key === chosen) });
        chip.disabled = !options.find(([key]) => key === chip.dataset.key)[2];
      }
    },
  };
}

function chainSlider(label, name) {
  const input = make("input", { type: "range", "aria-label": label, name }), told = make("output", { class: "value" });
  const element = make("label", { class: "setting knob" }, make("span", { class: "row" }, make("span", { class: "note", text: label }), told), input);
  return {
    element, input,
    update(value, [min, max, step], text, off) {
      set(input, { min, max, step });
      if (Number(input.value) !== value) input.value = value;
      input.disabled = off;
      element.classList.toggle("off", off);
      input.style.setProperty("--filled", `${100 * (value - min) / (max - min)}%`);
      set(told, { text });
    },
  };
}

// The thermometers, the rewards between them, and who walks past.
function chainTubes(shown, spoil) {
  const svg = draw("svg", { role: "group", "aria-label": "the chain" }), element = make("div", { class: "tubes" }, svg);
  const walker = draw("circle", { class: "walker", r: 5, cy: TUBE.bottom + 16 });
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let width = 0, tubes = [], built = "", latest = null;
  const place = (k) => (k + 0.5) * width / (shown().delay + 0.72);
  const level = (value) => TUBE.bottom - clamp(value, 0, 1) * (TUBE.bottom - TUBE.top);
  const told = atMostEvery(40, ([k, value]) => spoil(k, value));
  onWidth(element, (found) => { width = found; if (latest) update(...latest); });

  function tube(k) {
    const x = place(k), { top, bottom, half, bulb } = TUBE, centre = bottom + bulb - 1;
    const glass = `M${x - half},${bottom + 4}V${top}a${half},${half} 0 0 1 ${2 * half},0V${bottom + 4}A${bulb},${bulb} 0 1 1 ${x - half},${bottom + 4}Z`;
    const clip = draw("clipPath", { id: `chain-${k}-${Math.random().toString(36).slice(2)}` }, draw("path", { d: `M${x - half},${bottom + 3}V${top}a${half},${half} 0 0 1 ${2 * half},0V${bottom + 3}Z` }));
    const liquid = draw("rect", { class: "liquid", x: x - half, width: 2 * half, y: top - half, height: bottom - top + half + 2 });
    const pool = draw("circle", { class: "liquid pool", cx: x, cy: centre, r: bulb - 2.4 });
    const before = draw("path", { class: "before", d: `M${x - half},0h${2 * half}` }), aim = draw("path", { class: "aim", d: `M${x + half + 2},0l7,-4v8z` });
    const text = draw("text", { class: "reading", x, y: TUBE.top - half - 6, "text-anchor": "middle" });
    const name = draw("text", { class: "state", x, y: centre + 5, "text-anchor": "middle", text: state(k) });
    const ticks = draw("path", { class: "tick", d: [0.25, 0.5, 0.75].map((v) => `M${x - half},${level(v)}h${v === 0.5 ? 9 : 5}`).join("") });
    const group = draw("g", { class: "tube", tabindex: 0, role: "slider", "aria-label": `value of ${state(k)}`, "aria-orientation": "vertical", "aria-valuemin": 0, "aria-valuemax": 1 },
      clip, draw("path", { class: "glass", d: glass }), draw("g", { "clip-path": `url(#${clip.id})` }, liquid, before), draw("path", { class: "rim", d: glass }), pool, ticks, aim, text, name);
    const at = (event) => {
      const box = svg.getBoundingClientRect(), y = (event.clientY - box.top) * TUBE.height / box.height;
      return Math.round(20 * clamp((TUBE.bottom - y) / (TUBE.bottom - TUBE.top), 0, 1)) / 20;
    };
    group.addEventListener("pointerdown", (event) => {
      if (event.button || !event.isPrimary) return;
      event.preventDefault();
      group.focus({ preventScroll: true });
      group.setPointerCapture(event.pointerId);
      told([k, at(event)]);
    });
    group.addEventListener("pointermove", (event) => { if (group.hasPointerCapture(event.pointerId)) told([k, at(event)]); });
    group.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const up = { ArrowUp: 0.05, ArrowRight: 0.05, ArrowDown: -0.05, ArrowLeft: -0.05, PageUp: 0.25, PageDown: -0.25, Home: -1, End: 1 }[event.key];
      if (!up) return;
      event.preventDefault();
      event.stopPropagation();
      told([k, Math.round(20 * clamp(Number(group.getAttribute("aria-valuenow")) + up, 0, 1)) / 20]);
    });
    return { group, liquid, pool, before, aim, text };
  }

  function arrow(k, reward) {
    const y = TUBE.bottom + TUBE.bulb - 1, end = k === shown().delay - 1;
    const from = place(k) + TUBE.bulb + 4, to = end ? Math.min(place(k + 1), width - 16) - 11 : place(k + 1) - TUBE.bulb - 4, middle = (from + to) / 2;
    const size = reward ? 13 : 10;
    return draw("g", { class: `arrow${reward ? " paid" : ""}` },
      draw("path", { d: `M${from},${y}H${to}m-5,-4l5,4l-5,4` }),
      draw("circle", { cx: middle, cy: TUBE.height - 17, r: size }),
      draw("text", { x: middle, y: TUBE.height - 13, "text-anchor": "middle", text: brief(reward) }),
      ...(end ? [draw("rect", { class: "end", x: to + 4, y: y - 8, width: 16, height: 16, rx: 3 })] : []));
  }

  function build(data) {
    tubes = Array.from({ length: data.delay }, (_, k) => tube(k));
    const caption = draw("text", { class: "soft", x: 0, y: TUBE.height - 13, text: "reward" });
    svg.replaceChildren(caption, ...data.rewards.map((reward, k) => arrow(k, reward)), ...tubes.map(({ group }) => group), walker);
  }

  // With `pass` the walker crosses the chain in so many milliseconds, and each value changes as its rule says.
  function update(value, t, pass = 0) {
    latest = [value, t];
    const data = shown();
    if (width < 160) return;
    const key = `${width}|${data.rewards}`;
    if (key !== built) build(data);
    built = key;
    set(svg, { viewBox: `0 0 ${width} ${TUBE.height}`, height: TUBE.height });
    const moving = pass > 0 && !still.matches, stride = 0.72 * pass / data.delay;
    const backwards = data.settings.order === "reverse", atOnce = data.settings.rule !== "td";
    tubes.forEach(({ group, liquid, pool, before, aim, text }, k) => {
      const height = value(t, k), old = t ? value(t - 1, k) : height;
      const turn = atOnce ? data.delay - 1 : backwards ? data.delay - 1 - k : k;  // when in the sweep this state learns
      liquid.style.transition = moving ? `transform ${0.25 * pass}ms ease-out ${turn * stride}ms` : "none";
      liquid.style.transform = `translateY(${(level(height) - TUBE.top + TUBE.half).toFixed(1)}px)`;
      liquid.style.opacity = height > 0.004 ? 1 : 0;
      pool.style.transition = moving ? `fill-opacity ${0.25 * pass}ms ease-out ${turn * stride}ms` : "none";
      pool.style.fillOpacity = 0.06 + 0.94 * clamp(height, 0, 1);
      before.style.transform = `translateY(${level(old).toFixed(1)}px)`;
      show(before, Math.abs(height - old) > 0.004);
      aim.style.transform = `translateY(${level(data.truth[k]).toFixed(1)}px)`;
      set(text, { text: share(height) });
      set(group, { "aria-valuenow": height.toFixed(3), "aria-valuetext": `${share(height)} after ${t} sweeps` });
      group.classList.toggle("full", height > 0.45);
      group.classList.toggle("spoilt", Boolean(data.spoilt && data.spoilt.state === k && data.spoilt.sweep === t));
    });
    show(walker, moving);
    if (!moving) return;
    const ends = [place(0), place(data.delay)].map((x) => ({ transform: `translateX(${x.toFixed(1)}px)` }));
    walker.animate(backwards ? ends.reverse() : ends, { duration: 0.8 * pass, easing: "linear", fill: "forwards" });
  }

  return { element, update };
}

// States × sweeps, V(s₀) below, one cursor for both.
function chainTime(shown, now, value, move) {
  const canvas = make("canvas"), svg = draw("svg", { role: "group", "aria-label": "values over the sweeps" });
  const element = make("div", { class: "time" }, canvas, svg);
  const [labels, grid, curves, flags] = ["labels", "rules", "lines", "flags"].map((name) => draw("g", { class: name }));
  const cursor = draw("path", { class: "cursor" }), hit = draw("path", { class: "hit" }), knob = draw("circle", { class: "knob", r: 6 });
  const handle = draw("g", { class: "drag", tabindex: 0, role: "slider", "aria-label": "sweep" }, hit, cursor, knob);
  svg.append(grid, labels, curves, handle, flags);
  let width = 0;
  onWidth(element, (found) => { width = found; update(); });

  // How far along the axis a sweep is, 0 to 1, and back; with a logarithmic axis the same factor has the same length.
  const share_ = (n) => { const { sweeps, log } = shown(); return log ? Math.log1p(n) / Math.log1p(sweeps) : n / sweeps; };
  const sweep = (part) => { const { sweeps, log } = shown(); return log ? Math.expm1(clamp(part, 0, 1) * Math.log1p(sweeps)) : clamp(part, 0, 1) * sweeps; };
  const inner = () => width - TIME.left - TIME.right;
  const x = (n) => TIME.left + share_(n) * inner();
  const rows = () => ({ top: TIME.top, bottom: TIME.top + TIME.row * shown().delay });
  const row = (k) => TIME.top + TIME.row * (shown().delay - 1 - k);  // the state next to the reward on top
  const curve = () => { const top = rows().bottom + TIME.gap; return { top, bottom: top + TIME.curve }; };
  const y = (v) => curve().bottom - v * TIME.curve;
  const height = () => curve().bottom + TIME.bottom;

  const at = (event) => Math.round(sweep((event.clientX - svg.getBoundingClientRect().left - TIME.left) / inner()));
  svg.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return;
    event.preventDefault();
    handle.focus({ preventScroll: true });
    svg.setPointerCapture(event.pointerId);
    move(at(event));
  });
  svg.addEventListener("pointermove", (event) => { if (svg.hasPointerCapture(event.pointerId)) move(at(event)); });
  handle.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { sweeps } = shown(), by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -sweeps, End: sweeps }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    move(now.t + by);
  });

  // Runs of pixels that show the same sweep, as far as one may see.
  function paint(seen) {
    const ratio = window.devicePixelRatio || 1, { delay } = shown();
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height() * ratio) });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height()}px` });
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = colourOf(element, "--focus");
    const sharp = (place) => Math.round(place * ratio) / ratio;  // whole pixels: no seams between neighbours
    for (let n = 0; n <= seen;) {
      const left = n ? x(n - 0.5) : x(0), next = Math.max(n + 1, Math.ceil(sweep(share_(n) + 1 / inner()) - 0.5)), right = Math.min(x(next - 0.5), x(shown().sweeps));
      const wide = right - left > 7;
      for (let k = 0; k < delay; k++) {
        pen.globalAlpha = 0.05 + 0.95 * clamp(value(n, k), 0, 1);
        pen.beginPath();
        if (wide) pen.roundRect(left + 0.75, row(k) + 1, right - left - 1.5, TIME.row - 2, 3);
        else pen.rect(sharp(left), row(k) + 1, sharp(right) - sharp(left), TIME.row - 2);
        pen.fill();
      }
      n = next;
    }
  }

  function update() {
    const data = shown();
    now.axis = data.sweeps ? share_(now.t) : 0;
    if (width < 200) return;
    const seen = now.covered ? now.t : data.sweeps, { bottom } = rows(), end = x(data.sweeps);
    set(svg, { viewBox: `0 0 ${width} ${height()}`, height: height() });
    element.style.height = `${height()}px`;
    paint(seen);
    const word = (text, x, y, anchor, extra = "soft") => draw("text", { class: extra, x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor, text });
    labels.replaceChildren(
      word("V(s), state by state", TIME.left, 11, "start"), word(data.log ? "sweeps, on a logarithmic axis" : "sweeps", end, height() - 3, "end"),
      ...data.truth.map((_, k) => word(state(k), TIME.left - 9, row(k) + TIME.row / 2 + 4, "end", "")),
      word("V(s₀)", TIME.left + 6, curve().top + 11, "start", "over"),
      ...data.ticks.filter((n) => n <= seen).map((n) => word(n, x(n), curve().bottom + 16, "middle")));
    gridLines(grid, [0, 0.5, 1], y, { left: TIME.left, right: end });
    const known = data.points.filter((n) => n <= seen);
    const s0 = known.map((n, k) => `${k ? "L" : "M"}${x(n).toFixed(1)},${y(value(n, 0)).toFixed(1)}`).join("");
    const front = data.half.map((n, k) => [n, k]).filter(([n]) => n !== null && n <= seen);
    curves.replaceChildren(
      draw("path", { class: "front", d: front.map(([n, k], j) => `${j ? "L" : "M"}${x(n).toFixed(1)},${(row(k) + TIME.row / 2).toFixed(1)}`).join("") }),
      ...front.map(([n, k]) => draw("circle", { class: "front", r: 3, cx: x(n).toFixed(1), cy: (row(k) + TIME.row / 2).toFixed(1) })),
      ...(data.law?.points ?? []).filter(([n]) => n <= seen).map(([n, p]) => draw("circle", { class: "law", r: 3.4, cx: x(n).toFixed(1), cy: y(p).toFixed(1) })),
      draw("path", { class: "curve", d: s0 }),
      draw("circle", { class: "dot", r: 3.4, cx: x(now.t).toFixed(1), cy: y(value(now.t, 0)).toFixed(1) }));
    const marks = [];
    const flag = (n, kind, text, from) => {
      const left = x(n) > end - 90;
      marks.push(draw("path", { class: kind, d: `M${x(n).toFixed(1)},${from.toFixed(1)}V${curve().bottom}` }),
                 word(text, x(n) + (left ? -5 : 5), y(kind === "flag" ? 0.04 : 0.2), left ? "end" : "start", kind));
    };
    if (data.half[0] !== null && data.half[0] <= seen) flag(data.half[0], "flag", `½ after ${data.half[0]}`, bottom - TIME.row / 2);
    const told = now.covered && now.t >= (data.half[0] ?? data.sweeps);  // where it stood would tell how long the axis is
    if (told && now.guess !== null && now.guess >= 0 && now.guess <= data.sweeps) flag(now.guess, "guess", `you: ${now.guess}`, TIME.top);
    if (data.spoilt) marks.push(draw("path", { class: "spoil", d: `M${x(data.spoilt.sweep).toFixed(1)},${(row(data.spoilt.state) + TIME.row / 2).toFixed(1)}m-5,-5l10,10m0,-10l-10,10` }));
    flags.replaceChildren(...marks);
    const place = x(now.t).toFixed(1);
    for (const node of [cursor, hit]) set(node, { d: `M${place},${TIME.top - 4}V${curve().bottom}` });
    set(knob, { cx: place, cy: TIME.top - 9 });
    set(handle, { "aria-valuemin": 0, "aria-valuemax": data.sweeps, "aria-valuenow": now.t, "aria-valuetext": `sweep ${now.t}: V(s₀) ${share(value(now.t, 0))}` });
  }

  return { element, update, share: share_, sweep };
}

export default {
  render({ model, el }) {
    const { root, update, stop } = chainView(model);
    el.append(root);
    const names = ["shown", "table", "status"];
    let due = false;
    const soon = () => {  // a message changes several of them: one picture
      if (!due) queueMicrotask(() => { due = false; update(); });
      due = true;
    };
    for (const name of names) model.on(`change:${name}`, soon);
    update();
    return () => { stop(); for (const name of names) model.off(`change:${name}`, soon); };
  },
};
