// Title, buttons, speed, state, and the timeline with a mark wherever a knob was turned.

const SPEEDS = [["1 step/s", 1], ["3 steps/s", 3], ["10 steps/s", 10], ["30 steps/s", 30], ["full speed", 0]];

function transportPanel(store) {
  const title = make("h1");
  const trouble = make("div", { class: "trouble", role: "alert" });
  const controls = liveControls(store);
  const state = stateView(store);
  const time = timeline(store);
  const panel = make("section", { class: "transport", "aria-label": "transport" },
    make("div", { class: "bar" }, title, controls.choices, make("span", { class: "grow" }), controls.buttons, state.element),
    trouble, time.element);

  function update() {
    set(title, { text: store.setup.title });
    set(trouble, { text: store.status.error ?? "" });
    controls.update();
    state.update();
    time.update();
  }
  return { element: panel, update, toggle: () => (store.live && store.busy ? controls.toggle() : time.toggle()) };
}

// What is going on, in words; only the words are read out, not every step.
function stateView(store) {
  const words = make("span", { role: "status", "aria-live": "polite" });
  const count = make("span");
  const element = make("span", { class: "pill state" }, words, count);
  function update() {
    const { status, rows } = store;
    const says = status.state === "replay" ? "recorded" : status.text || status.state;
    const steps = rows?.length ? ` · ${rows.done} of ${Math.max(rows.head.steps, rows.done)} steps` : "";
    set(words, { text: says });
    set(count, { text: steps + (status.rate ? ` · ${brief(status.rate)}/s` : "") });
    element.dataset.state = status.state;
  }
  return { element, update };
}

function liveControls(store) {
  const button = (name, label, act, main) => {
    const node = make("button", { type: "button", class: main ? "btn main" : "btn", "aria-label": name, text: label });
    node.addEventListener("click", act);
    return node;
  };
  const follow = (name) => () => { store.cursor.move({ t: -1 }); store.send(name, {}); };
  const tell = (name) => () => store.send(name, {});
  const branch = () => {
    store.send("branch", { t: store.t, knobs: { ...store.wishes, ...store.staged } });
    store.cursor.move({ t: -1 });  // to see what becomes of it
  };
  const reset = button("Reset", "↺ Reset", tell("reset"));
  const run = button("Run live", "▶ Run live", follow("run"), true);
  const resume = button("Resume", "▶ Resume", follow("resume"), true);
  const pause = button("Pause", "❚❚ Pause", tell("pause"), true);
  const half = button("Half step", "▸ ½ step", follow("half_step"));
  const step = button("Step", "▸▸ Step", follow("step"));
  const stop = button("Stop", "■ Stop", tell("stop"));
  const fork = button("Branch", "Branch from here", branch);
  const speed = make("select", { "aria-label": "Speed" }, ...SPEEDS.map(([text, value]) => make("option", { value, text })));
  speed.value = "0";
  speed.addEventListener("change", () => store.send("speed", { value: Number(speed.value) }));
  const method = make("select", { "aria-label": "method" });
  method.addEventListener("change", () => store.send("method", { name: method.value }));
  const seed = make("input", { type: "number", min: 0, step: 1, "aria-label": "seed" });
  seed.addEventListener("change", () => store.send("seed", { value: Number(seed.value) }));
  const choices = make("span", { class: "bar" }, make("label", { class: "pill" }, method),
    make("label", { class: "pill" }, "seed ", seed));
  const buttons = make("div", { class: "bar buttons" }, reset, run, resume, pause, half, step, stop, make("label", { class: "pill" }, speed), fork);

  function update() {
    const { status, rows, live, busy } = store;
    show(choices, live);
    show(buttons, live);
    if (!live) return;
    show(run, !busy);
    show(pause, status.state === "running" || status.state === "starting");
    show(resume, status.state === "paused");
    stop.disabled = !busy;
    fork.disabled = !rows?.length || store.t < 1 || status.state === "starting";
    set(fork, { title: store.isBack ? "Go on from the step at the cursor, with the knobs as they stand now"
                                    : "Scrub back and turn a knob, then branch" });
    fillOptions(method, store.setup.methods ?? [rows?.head.method ?? ""], status.method ?? rows?.head.method);
    method.disabled = seed.disabled = busy;
    if (document.activeElement !== seed) seed.value = status.seed ?? rows?.head.seed ?? 0;
  }
  const toggle = () => (store.status.state === "paused" ? resume : pause).click();
  return { choices, buttons, update, toggle };
}

function fillOptions(select, names, value) {
  if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    select.replaceChildren(...names.map((name) => make("option", { value: name, text: name })));
  }
  if (value != null && select.value !== value && document.activeElement !== select) select.value = value;
}

// Drag to look at any row, also while the search goes on; at its right end it follows the newest again.
function timeline(store) {
  const slider = make("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "position", class: "position" });
  const marks = make("div", { class: "marks" });
  const done = make("div", { class: "done" });
  const play = make("button", { type: "button", class: "btn play", "aria-label": "Play", title: "play the recording", text: "▶" });
  const newest = make("button", { type: "button", class: "btn", "aria-label": "Newest", title: "follow the newest step", text: "⇥ newest" });
  const where = make("output", { class: "where" }), until = make("span", { class: "where" });
  const element = make("div", { class: "timeline" }, make("div", { class: "gutter" }, play, where),
    make("div", { class: "track" }, marks, done, slider), make("div", { class: "gutter" }, until, newest));
  let drawnFor = "", due = 0;

  slider.addEventListener("input", () => {
    const last = store.rows.length - 1, t = Math.min(Number(slider.value), last);
    store.playing = false;
    store.cursor.move({ t: t >= last ? -1 : t });
  });
  newest.addEventListener("click", () => store.cursor.move({ t: -1 }));
  play.addEventListener("click", toggle);

  function toggle() {
    store.playing = !store.playing;
    if (store.playing && store.t >= store.rows.length - 1) store.cursor.move({ t: 0 });
    if (store.playing) requestAnimationFrame(advance);
    store.changed();
  }

  // A recording plays in about a quarter of a minute, whatever its length.
  function advance(now) {
    if (!store.playing || !element.isConnected) return;
    requestAnimationFrame(advance);
    if (now < due) return;
    const rate = Math.max(20, store.rows.length / 16);
    due = Math.max(now, due + 1000 / Math.min(rate, 30));
    const next = store.t + Math.max(1, Math.round(rate / 30));
    const isOver = next >= store.rows.length - 1;
    if (isOver) store.playing = false;
    store.cursor.move({ t: isOver ? -1 : next });
    store.changed();
  }

  function update() {
    const { rows, t, status } = store;
    slider.disabled = !rows?.length;
    if (!rows) return;
    const step = rows.steps[Math.max(t, 0)] ?? 0;
    set(slider, { max: Math.max(rows.total - 1, 1), "aria-valuetext": `step ${step}` });
    if (Number(slider.value) !== Math.max(t, 0)) slider.value = Math.max(t, 0);
    set(where, { text: `step ${step}` });
    set(until, { text: `of ${Math.max(rows.head.steps, rows.done)}` });
    done.style.width = `${100 * rows.length / rows.total}%`;
    set(play, { text: store.playing ? "❚❚" : "▶", "aria-label": store.playing ? "Halt" : "Play" });
    play.disabled = rows.length < 2;
    play.style.visibility = status.state === "running" ? "hidden" : "";
    newest.style.visibility = store.isBack ? "" : "hidden";
    const key = JSON.stringify([rows.changes, rows.total]);
    if (key !== drawnFor) placeMarks(marks, rows);
    drawnFor = key;
  }
  return { element, update, toggle };
}

// A mark for every turn of a knob; its words only where the mark before leaves room.
function placeMarks(marks, rows) {
  let free = -1;
  marks.replaceChildren(...rows.changes.map(({ t, step, label }) => {
    const place = t / rows.total;
    const mark = make("span", { title: `${label} at step ${step}` }, make("b", { text: "▼" }));
    if (place >= free) {
      mark.append(label);
      free = place + 0.012 * (label.length + 4);
    }
    mark.style.left = `${100 * place}%`;
    mark.classList.toggle("late", place > 0.85);
    return mark;
  }));
}
