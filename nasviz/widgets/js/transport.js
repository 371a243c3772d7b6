// Title, buttons, speed, state, and the timeline with a mark wherever a knob was turned.

const SPEEDS = [["¼×", 5], ["½×", 10], ["1×", 20], ["2×", 40], ["as fast as it goes", 0]];

function transportPanel(store) {
  const title = make("h1", { text: "" });
  const state = make("span", { class: "pill state", role: "status", "aria-live": "polite" });
  const trouble = make("div", { class: "trouble", role: "alert" });
  const button = (name, label, act, extra = "") => {
    const node = make("button", { type: "button", class: `btn ${extra}`, "aria-label": name, title: name, text: label });
    node.addEventListener("click", act);
    return node;
  };
  const tell = (name, payload = {}) => store.send(name, payload);
  const buttons = {
    reset: button("Reset", "↺ Reset", () => tell("reset")),
    run: button("Run live", "▶ Run live", () => { store.cursor.move({ t: -1 }); tell("run"); }, "main"),
    resume: button("Resume", "▶ Resume", () => { store.cursor.move({ t: -1 }); tell("resume"); }, "main"),
    pause: button("Pause", "❚❚ Pause", () => tell("pause"), "main"),
    half: button("Half step", "▸ ½ step", () => { store.cursor.move({ t: -1 }); tell("half_step"); }),
    step: button("Step", "▸▸ step", () => { store.cursor.move({ t: -1 }); tell("step"); }),
    stop: button("Stop", "■ Stop", () => tell("stop")),
    branch: button("Branch", "⑂ Branch from here", () => tell("branch", { t: store.t, knobs: { ...store.wishes } })),
  };
  const speed = make("select", { "aria-label": "Speed", title: "steps a second" },
    ...SPEEDS.map(([label, value]) => make("option", { value, text: label })));
  speed.value = "0";
  speed.addEventListener("change", () => tell("speed", { value: Number(speed.value) }));
  const method = choice("method", (value) => tell("method", { name: value }));
  const seed = make("input", { type: "number", min: 0, step: 1, value: 0, "aria-label": "seed", title: "seed" });
  seed.addEventListener("change", () => tell("seed", { value: Number(seed.value) }));
  const seedBox = make("label", { class: "pill" }, "seed ", seed);
  const controls = make("div", { class: "row" }, buttons.reset, buttons.run, buttons.resume, buttons.pause, buttons.half,
                        buttons.step, buttons.stop, make("label", { class: "pill" }, "speed ", speed), buttons.branch);
  const bar = make("div", { class: "bar" }, title, method, seedBox, make("span", { class: "grow" }), controls, state);
  const time = timeline(store);
  const panel = make("section", { class: "transport", "aria-label": "transport" }, bar, trouble, time.element);

  function update() {
    const { status, rows, live } = store;
    title.textContent = store.setup.title;
    for (const node of [controls, method, seedBox]) node.style.display = live ? "" : "none";
    const idle = !["starting", "running", "paused"].includes(status.state);
    const show = (node, on) => { node.style.display = on ? "" : "none"; };
    show(buttons.run, idle);
    show(buttons.pause, status.state === "running" || status.state === "starting");
    show(buttons.resume, status.state === "paused");
    buttons.stop.disabled = idle;
    buttons.branch.disabled = !rows || !rows.length || store.t < 1 || status.state === "starting";
    fill(method, store.setup.methods ?? [], status.method ?? rows?.head.method);
    method.disabled = seed.disabled = !idle;
    if (document.activeElement !== seed) seed.value = status.seed ?? rows?.head.seed ?? 0;
    trouble.textContent = status.error ?? "";
    const words = rows && rows.length ? `step ${rows.steps(rows.length - 1)} of ${planned(rows)}` : "";
    const rate = status.rate ? `${short(status.rate)}/s` : "";
    state.textContent = [status.text || status.state, words, rate].filter(Boolean).join(" · ");
    state.dataset.state = status.state;
    time.update();
  }
  return { element: panel, update };
}

const planned = (rows) => (rows.total > 1.5 * rows.steps(rows.length - 1) && rows.halves.some(Boolean)
  ? Math.round(rows.total / 2) : rows.halves.some(Boolean) ? Math.round(rows.total / 2) : rows.total);

function choice(name, act) {
  const select = make("select", { "aria-label": name, title: name });
  select.addEventListener("change", () => act(select.value));
  return select;
}

function fill(select, names, value) {
  if (select.options.length !== names.length) select.replaceChildren(...names.map((name) => make("option", { value: name, text: name })));
  if (value != null && select.value !== value && document.activeElement !== select) select.value = value;
}

// Drag to look at any row, also while the search goes on; at its right end it follows the newest again.
function timeline(store) {
  const slider = make("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "position", class: "position" });
  const marks = make("div", { class: "marks", "aria-hidden": "true" });
  const done = make("div", { class: "done" });
  const play = make("button", { type: "button", class: "btn play", "aria-label": "Play", title: "Play the recording", text: "▶" });
  const newest = make("button", { type: "button", class: "btn", "aria-label": "Newest", title: "Follow the newest row", text: "⇥ newest" });
  const where = make("output", { class: "where" });
  const track = make("div", { class: "track" }, marks, done, slider);
  const element = make("div", { class: "timeline" }, make("div", { class: "gutter" }, play, where), track,
                       make("div", { class: "gutter" }, newest));
  let timer = null;

  slider.addEventListener("input", () => {
    const t = Math.min(Number(slider.value), store.rows.length - 1);
    store.cursor.move({ t: t >= store.rows.length - 1 && store.status.state === "running" ? -1 : t });
  });
  newest.addEventListener("click", () => store.cursor.move({ t: -1 }));
  play.addEventListener("click", toggle);

  function toggle() {
    if (timer) { clearInterval(timer); timer = null; return store.changed(); }
    if (store.t >= store.rows.length - 1) store.cursor.move({ t: 0 });
    const stride = Math.max(1, Math.round(store.rows.length / 400));
    timer = setInterval(() => {
      const next = store.t + stride;
      store.cursor.move({ t: Math.min(next, store.rows.length - 1) });
      if (next >= store.rows.length - 1 || !element.isConnected) { clearInterval(timer); timer = null; store.changed(); }
    }, 33);
    return store.changed();
  }

  function update() {
    const { rows, t } = store;
    slider.disabled = !rows || !rows.length;
    if (!rows) return;
    slider.max = Math.max(rows.total - 1, 1);
    slider.value = Math.max(t, 0);
    where.textContent = `row ${Math.max(t, 0)}`;
    slider.setAttribute("aria-valuetext", `row ${t} of ${rows.total}`);
    done.style.width = `${100 * rows.length / rows.total}%`;
    play.textContent = timer ? "❚❚" : "▶";
    set(play, { "aria-label": timer ? "Halt" : "Play" });
    play.style.visibility = store.status.state === "running" ? "hidden" : "";
    newest.style.visibility = store.cursor.t >= 0 && t < rows.length - 1 ? "" : "hidden";
    const key = JSON.stringify([rows.changes, rows.total]);
    if (marks.dataset.key === key) return;
    marks.dataset.key = key;
    marks.replaceChildren(...rows.changes.map((change) => {
      const mark = make("span", { title: `${change.label} at row ${change.t}` }, make("b", { text: "▼" }), change.label);
      mark.style.left = `${100 * change.t / rows.total}%`;
      if (change.t > 0.8 * rows.total) mark.classList.add("late");
      return mark;
    }));
  }
  return { element, update, toggle };
}
