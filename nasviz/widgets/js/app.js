// Puts the panels of a view together and redraws them at most once a frame.

const PANELS = { transport: transportPanel, knobs: knobsPanel, cells: cellsPanel, curves: curvesPanel, ribbons: ribbonsPanel };

function mount(element, store) {
  const board = make("div", { class: "board" });
  const root = make("div", { class: "nasviz", tabindex: "-1" }, board);
  const panels = store.setup.panels.filter((name) => PANELS[name]).map((name) => PANELS[name](store));
  board.dataset.panels = store.setup.panels.join(" ");
  board.append(...panels.map((panel) => panel.element));
  if (store.setup.panels.includes("notice") && !store.setup.panels.includes("curves")) {
    const note = make("p", { class: "note notice", "aria-live": "polite" });
    board.append(note);
    panels.push({ update() { note.textContent = store.rows?.notes[store.t] ?? ""; } });
  }
  element.append(root);

  let waiting = false, pictures = 0;
  function paint() {
    waiting = false;
    try {
      for (const panel of panels) panel.update();
    } catch (error) {  // an error in a callback would show in the console only
      root.dataset.error = String(error);
      (root.querySelector(".trouble") ?? root.appendChild(make("div", { class: "trouble" }))).textContent = String(error);
      throw error;
    }
    root.dataset.pictures = ++pictures;
    root.dataset.t = store.t;
    root.dataset.rows = store.rows?.length ?? 0;
  }
  function schedule() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(paint);
  }
  const changed = () => schedule();
  store.addEventListener("change", changed);

  // Colours painted on a canvas do not follow the page's theme by themselves.
  const theme = new MutationObserver(() => { store.dispatchEvent(new Event("theme")); schedule(); });
  for (const node of [document.body, document.documentElement]) {
    theme.observe(node, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "data-theme", "class"] });
  }
  root.addEventListener("keydown", (event) => keys(event, store, root));
  schedule();
  return () => { store.removeEventListener("change", changed); theme.disconnect(); };
}

// Space plays or pauses, arrows move the cursor; not where a control has its own use for the key.
function keys(event, store, root) {
  if (["INPUT", "SELECT", "BUTTON", "SUMMARY"].includes(event.target.tagName) || !store.rows) return;
  const to = { ArrowLeft: store.t - 1, ArrowRight: store.t + 1, Home: 0, End: store.rows.length - 1 }[event.key];
  if (to != null) store.cursor.move({ t: clamp(to, 0, store.rows.length - 1) });
  else if (event.key === " ") {
    const names = ["Pause", "Resume", "Play", "Halt"];
    const button = names.map((name) => root.querySelector(`[aria-label="${name}"]`)).find((node) => node && node.offsetParent);
    button?.click();
  } else return;
  event.preventDefault();
  event.stopPropagation();
}
