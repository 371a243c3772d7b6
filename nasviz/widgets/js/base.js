// What all views share: the rows of a recording as they arrive, the cursor, and small DOM helpers.
// Text from a recording reaches the page through textContent only.

const SVG = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  set(node, attributes);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  set(node, attributes);
  return node;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (value === false || value == null) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : value);
  }
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

// Three significant digits without a leading zero: .53, 12.4, 480.
function short(value) {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = size >= 100 ? size.toFixed(0) : size >= 10 ? size.toFixed(1) : size.toFixed(2);
  return (value < 0 && Number(text) ? "−" : "") + text.replace(/^0\./, ".");
}

// The rows of one recording. Tables grow by doubling, so that a row costs the same early and late.
class Rows {
  constructor(head) {
    this.head = head;
    this.cells = head.cells.length;
    this.edges = head.allowed[0].length;
    this.ops = head.ops.length;
    this.length = 0;
    this.total = 1;
    this.metrics = {};
    this.notes = [];
    this.halves = [];
    this.penalties = [];
    this.changes = [];
    this.events = [];
    this.prices = [];
    this.values = {};
    this.creditScale = 1e-9;
    const edge = this.cells * this.edges;
    this.width = { probs: edge * this.ops, gates: edge * this.ops, credit: edge * this.ops,
                   share: edge, sure: edge, derived: edge, alive: edge };
    this.tables = {};
    for (const name of Object.keys(this.width)) this.tables[name] = this.blank(name, 64);
  }

  blank(name, rows) {
    const Kind = ["sure", "derived", "alive"].includes(name) ? Uint8Array : Float32Array;
    return new Kind(rows * this.width[name]);
  }

  // `data` and `buffers` are what frames.rows gives.
  append(data, buffers) {
    const { start, rows } = data;
    if (start > this.length) throw new Error(`rows ${this.length} to ${start} are missing`);
    Object.keys(this.width).forEach((name, k) => {
      const Kind = this.tables[name].constructor;
      const bytes = buffers[k];
      const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
      while (this.tables[name].length < (start + rows) * this.width[name]) {
        const larger = this.blank(name, 2 * this.tables[name].length / this.width[name]);
        larger.set(this.tables[name]);
        this.tables[name] = larger;
      }
      this.tables[name].set(new Kind(copy), start * this.width[name]);
    });
    for (const [name, values] of Object.entries(data.metrics)) {
      const column = (this.metrics[name] ??= []);
      while (column.length < start) column.push(null);
      column.length = start;
      column.push(...values);
    }
    for (const name of ["notes", "halves", "penalties"]) {
      this[name].length = start;
      this[name].push(...data[name]);
    }
    for (const name of ["total", "changes", "events", "prices", "values"]) this[name] = data[name];
    this.length = start + rows;
    const sizes = this.tables.share.subarray(start * this.width.share, this.length * this.width.share);
    for (const size of sizes) if (Math.abs(size) > this.creditScale) {
      // Towards the largest bar, but slowly: one spike must not flatten all the others.
      this.creditScale += (Math.abs(size) - this.creditScale) * (this.creditScale < 1e-6 ? 1 : 0.1);
    }
  }

  at(name, t, cell, edge, op = 0) {
    const inner = this.width[name] / (this.cells * this.edges);
    return this.tables[name][t * this.width[name] + (cell * this.edges + edge) * inner + op];
  }

  metric(name, t) {
    return this.metrics[name]?.[t] ?? null;
  }

  // The newest value at or before row t: measurements are made every few rows.
  latest(name, t) {
    const column = this.metrics[name] ?? [];
    for (let k = Math.min(t, column.length - 1); k >= 0; k--) if (column[k] != null) return column[k];
    return null;
  }

  price(t, cell, edge, op) {
    let table = null;
    for (const [from, values] of this.prices) if (from <= t) table = values;
    return table ? table[(cell * this.edges + edge) * this.ops + op] : 0;
  }

  penalty(t) {
    return this.penalties[t] ?? 0;
  }

  steps(t) {
    let count = 0;
    for (let k = 0; k <= t && k < this.halves.length; k++) if (!this.halves[k]) count++;
    return count;
  }
}

// One cursor for all views that name it: the row looked at (−1 follows the newest) and the pinned edge.
class Cursor extends EventTarget {
  constructor() {
    super();
    this.t = -1;
    this.edge = "";
    this.hover = "";
  }

  move(change) {
    Object.assign(this, change);
    this.dispatchEvent(new Event("move"));
  }
}

function cursorNamed(id) {
  const all = (window.__nasvizCursors ??= new Map());
  if (!id) return new Cursor();
  if (!all.has(id)) all.set(id, new Cursor());
  return all.get(id);
}

// Everything a view draws from. `send(name, payload)` tells the kernel, if there is one.
class Store extends EventTarget {
  constructor(setup, cursor, send) {
    super();
    Object.assign(this, { setup, cursor, send, rows: null, ghost: null, tab: "distribution" });
    this.status = { state: "replay" };
    this.live = false;
    cursor.addEventListener("move", () => this.changed());
  }

  load(head) {
    this.rows = new Rows(head);
    this.ghost = null;
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  // The row to draw, or −1 while there is none.
  get t() {
    const last = this.rows ? this.rows.length - 1 : -1;
    return this.cursor.t < 0 ? last : Math.min(this.cursor.t, last);
  }

  // The edge whose numbers are shown: the one pointed at, else the pinned one, as [cell, edge] or null.
  get chosen() {
    const name = this.cursor.hover || this.cursor.edge;
    if (!name || !this.rows) return null;
    const [cell, edge] = name.split(":");
    const index = this.rows.head.cells.indexOf(cell);
    return index >= 0 && Number(edge) < this.rows.edges ? [index, Number(edge)] : null;
  }
}
