// In a notebook: one store for each model, so that a second view of it, or a page that is loaded again, has it all.

export default () => {
  let store;

  function initialize({ model }) {
    const cursor = cursorNamed(model.get("cursor_id"));
    store = new Store(model.get("setup"), cursor, (name, payload) => model.send({ kind: "command", name, payload }));
    const mirror = () => {
      Object.assign(store, { setup: model.get("setup"), status: model.get("status"), live: model.get("live") });
      store.changed();
    };
    for (const name of ["setup", "status", "live"]) model.on(`change:${name}`, mirror);
    for (const name of ["t", "edge"]) model.on(`change:${name}`, () => cursor.move({ [name]: model.get(name) }));
    const save = atMostEvery(150, () => {  // the kernel needs to know where one looks, not every place on the way
      if (model.get("t") === cursor.t && model.get("edge") === cursor.edge) return;
      model.set("t", cursor.t);
      model.set("edge", cursor.edge);
      model.save_changes();
    });
    cursor.addEventListener("move", save);
    model.on("msg:custom", (message, buffers) => hear(message, buffers, model));
    cursor.move({ t: model.get("t"), edge: model.get("edge") || cursor.edge });
    mirror();
    model.send({ kind: "hello" });
  }

  function hear(message, buffers, model) {
    if (message.kind === "head") {
      store.load(message.head, message.wishes);
      store.append(message.data, buffers);
    } else if (message.kind === "rows" && store.rows) {
      const fits = message.id === store.rows.head.id && message.data.start <= store.rows.length;
      if (message.label) store.ghostLabel = message.label;
      if (fits) store.append(message.data, buffers);
      else model.send({ kind: "hello" });  // rows were missed: ask for all of them
    } else if (message.kind === "ghost") {
      store.ghost = message.head ? new Rows(message.head) : null;
      store.ghost?.append(message.data, buffers);
      store.ghostLabel = message.label;
      store.changed();
    }
  }

  const render = ({ el }) => mount(el, store);
  return { initialize, render };
};
