// In a notebook: one store for each model, so that a second view of it, or a page that is loaded again, has it all.

function initialize({ model }) {
  const cursor = cursorNamed(model.get("cursor_id"));
  const send = (name, payload) => model.send({ kind: "command", name, payload });
  const store = new Store(model.get("setup"), cursor, send);
  model.nasvizStore = store;
  const mirror = () => {
    store.setup = model.get("setup");
    store.status = model.get("status");
    store.live = model.get("live");
    store.changed();
  };
  model.on("change:setup change:status change:live", mirror);
  model.on("change:t", () => { if (model.get("t") !== cursor.t) cursor.move({ t: model.get("t") }); });
  model.on("change:edge", () => { if (model.get("edge") !== cursor.edge) cursor.move({ edge: model.get("edge") }); });
  let timer = null;
  cursor.addEventListener("move", () => {  // the kernel needs to know where one looks, not every place on the way
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (model.get("t") === cursor.t && model.get("edge") === cursor.edge) return;
      model.set("t", cursor.t);
      model.set("edge", cursor.edge);
      model.save_changes();
    }, 150);
  });
  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "head") {
      store.wishes = { ...model.get("setup").wishes };
      store.load(message.head);
      if (message.data) store.rows.append(message.data, buffers);
    } else if (message.kind === "rows" && store.rows) {
      if (message.id !== store.rows.head.id || message.data.start > store.rows.length) return model.send({ kind: "hello" });
      store.rows.append(message.data, buffers);
    } else if (message.kind === "ghost") {
      store.ghost = message.head ? new Rows(message.head) : null;
      store.ghost?.append(message.data, buffers);
    }
    store.changed();
  });
  if (model.get("t") >= 0) cursor.t = model.get("t");
  if (model.get("edge")) cursor.edge = model.get("edge");
  mirror();
  model.send({ kind: "hello" });
}

function render({ model, el }) {
  return mount(el, model.nasvizStore);
}

export default { initialize, render };
