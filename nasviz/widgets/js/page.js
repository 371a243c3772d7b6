// A self-contained page: the recordings stand in it as JSON with base64 tables, and no kernel is needed.

function table(text) {
  return new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

for (const place of document.querySelectorAll("script[type='application/nasviz+json']")) {
  const { setup, head, data, tables, ghost, cursor } = JSON.parse(place.textContent);
  const store = new Store(setup, cursorNamed(cursor), () => {});
  store.load(head);
  store.append(data, tables.map(table));
  if (ghost) {
    store.ghost = new Rows(ghost.head);
    store.ghost.append(ghost.data, ghost.tables.map(table));
    store.ghostLabel = ghost.label;
  }
  const element = document.createElement("div");
  place.replaceWith(element);
  mount(element, store);
}
