// A self-contained page: the recordings stand in it as JSON with base64 tables, and no kernel is needed.

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

for (const place of document.querySelectorAll("script[type='application/nasviz+json']")) {
  const { setup, head, data, tables, t, cursor } = JSON.parse(place.textContent);
  const store = new Store(setup, cursorNamed(cursor), () => {});
  store.load(head);
  store.rows.append(data, tables.map((text) => new DataView(bytes(text).buffer)));
  if (t >= 0) store.cursor.t = t;
  const element = document.createElement("div");
  place.replaceWith(element);
  mount(element, store);
}
