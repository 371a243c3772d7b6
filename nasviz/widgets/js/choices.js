// Two choices: three menus, what they mean, and the text that they make, with what has changed marked.

const MENUS = [["gates", "how gates are drawn"], ["credit", "how credit returns"], ["levels", "levels"]];

function choicesView(model) {
  const send = (name, payload = {}) => model.send({ kind: "command", name, payload });
  const shown = () => model.get("shown"), status = () => model.get("status");

  const selects = Object.fromEntries(MENUS.map(([name, label]) => {
    const node = make("select", { "aria-label": label });
    node.addEventListener("change", () => send("choose", { [name]: name === "levels" ? Number(node.value) : node.value }));
    return [name, node];
  }));
  const menu = ([name, label]) => make("label", { class: "menu" }, make("span", { class: "note", text: label }), selects[name]);
  const [first, second, third] = MENUS.map(menu);
  const sign = (text) => make("span", { class: "times", text, "aria-hidden": "true" });
  const star = make("b", { class: "star" }), file = make("span", { class: "note" }), badge = make("span", { class: "named", role: "status" }, star, file);
  const restore = make("button", { type: "button", class: "btn", text: "Restore the recording" });
  restore.addEventListener("click", () => send("restore"));
  const atOnce = make("input", { type: "checkbox" });
  atOnce.addEventListener("change", () => send("at_once", { value: atOnce.checked }));

  const why = make("span"), nearest = make("button", { type: "button", class: "btn main" });
  nearest.addEventListener("click", () => send("nearest"));
  const refusal = make("p", { class: "refusal", role: "alert" }, why, nearest);
  const about = make("dl", { class: "about" }), code = make("pre", { class: "code", tabindex: 0, "aria-label": "the search as text" });
  const gone = make("input", { type: "checkbox", "aria-label": "show what went" });
  gone.addEventListener("change", () => code.classList.toggle("with-gone", gone.checked));
  const copy = make("button", { type: "button", class: "btn", text: "Copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(shown().source);
    set(copy, { text: "Copied" });
    setTimeout(() => set(copy, { text: "Copy" }), 1200);
  });
  const legend = make("span", { class: "note changed" });
  const same = make("p", { class: "note same", role: "status" }), trouble = make("div", { class: "trouble", role: "alert" });

  const root = make("div", { class: "nasviz choices", "data-lm-suppress-shortcuts": "true" },
    make("section", { class: "panel", "aria-label": "two choices" },
      make("div", { class: "bar menus" }, first, sign("×"), second, sign("×"), third, sign("="), badge),
      refusal,
      make("div", { class: "sides" },
        make("div", { class: "side" }, about,
          make("div", { class: "bar" }, make("label", { class: "bar" }, atOnce, "run live at every switch"), restore), same),
        make("div", { class: "side" }, make("div", { class: "bar" }, make("h2", { text: "the text that runs" }), legend, make("span", { class: "grow" }),
          make("label", { class: "bar note" }, gone, "show what went"), copy), code)),
      trouble));
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));

  const piece = ([kind, text]) => (kind ? make("span", { class: kind, text }) : text);

  function update() {
    const data = shown(), { same: told, error } = status();
    MENUS.forEach(([name], k) => {
      const marked = ([value, refused]) => refused && value !== data.asked[k];
      selects[name].replaceChildren(...data.menus[name].map((item) =>
        make("option", { value: item[0], text: marked(item) ? `✕ ${item[0]}` : item[0], title: item[1] || item[2], class: marked(item) ? "no" : null })));
      selects[name].value = data.asked[k];
      set(selects[name], { title: data.about[k][1], "aria-invalid": data.refused ? "true" : null });
    });
    set(badge, { "data-named": data.refused ? "refused" : data.name ? "yes" : "no" });
    set(star, { text: data.refused ? "does not run" : data.name ? `★ ${data.name}` : "no name yet" });
    set(file, { text: !data.refused && data.file ? data.file : "" });
    show(refusal, data.refused);
    set(why, { text: data.refused });
    set(nearest, { text: `Take ${data.nearest}` });
    about.replaceChildren(...data.about.flatMap(([name, help, equation], k) => [
      make("dt", { text: `${name}: ${data.asked[k]}` }),
      make("dd", {}, make("span", { text: help }), ...(equation ? [make("code", { text: equation })] : []))]));
    const changed = data.lines.filter(({ mark }) => mark === "new").length, went = data.lines.filter(({ mark }) => mark === "gone").length;
    set(legend, { text: changed || went ? `${changed} line${changed === 1 ? "" : "s"} new, ${went} gone` : "" });
    show(gone.parentElement, went);
    code.classList.toggle("stale", Boolean(data.refused));
    code.replaceChildren(...data.lines.map(({ tokens, mark }) =>
      make("span", { class: `line ${mark}` }, ...tokens.map(piece), "\n")));
    show(restore, data.recording && !data.refused);
    set(restore, { title: data.recording });
    atOnce.checked = data.at_once;
    set(same, { text: told });
    set(trouble, { text: error ?? "" });
    Object.assign(root.dataset, { title: data.title, name: data.name, refused: data.refused ? "yes" : "no" });
  }
  return { root, update };
}

export default {
  render({ model, el }) {
    const { root, update } = choicesView(model);
    el.append(root);
    for (const name of ["shown", "status"]) model.on(`change:${name}`, update);
    update();
    return () => { for (const name of ["shown", "status"]) model.off(`change:${name}`, update); };
  },
};
