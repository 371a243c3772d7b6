// Every edge over time on the timeline's own scale: colour = leading op, depth = how decided it is. A canvas, since a long
// run has tens of thousands of patches; beside it all ops of the row at the cursor.

const RIBBON = { left: 104, right: 160, gap: 7 };  // the timeline of the transport bar keeps the same margins

function ribbonsPanel(store) {
  const canvas = make("canvas", { role: "img", "aria-label": "every edge over time" });
  const box = make("div", { class: "ribbons-box" }, canvas);
  const pointedAt = make("span", { class: "note" }), caption = make("span", { class: "note" });
  const panel = make("section", { class: "panel ribbons", "aria-label": "edges over time" }, make("div", { class: "row" },
    make("h2", { text: "Edges over time" }), caption,
    make("span", { class: "grow" }), pointedAt), box);
  const still = document.createElement("canvas");  // the ribbons alone, painted once and extended as rows arrive
  let painted = { key: "", length: 0 }, width = 0, ink = null, row = null;

  const rowHeight = () => (store.rows.cells * store.rows.edges > 16 ? 10 : 13);
  const top = (cell, edge) => 2 + cell * (store.rows.edges * rowHeight() + RIBBON.gap) + edge * rowHeight();
  const height = () => store.rows.cells * (store.rows.edges * rowHeight() + RIBBON.gap) - RIBBON.gap + 4;
  const x = (t) => RIBBON.left + t / store.rows.total * (width - RIBBON.left - RIBBON.right);
  const pixel = (t) => Math.round(x(t) * devicePixelRatio) / devicePixelRatio;  // patches meet without a seam

  new ResizeObserver(() => { width = box.clientWidth; store.changed(); }).observe(box);
  store.addEventListener("theme", () => { ink = null; });
  box.addEventListener("pointermove", (event) => point(event, event.buttons === 1));
  box.addEventListener("pointerdown", (event) => point(event, true));
  box.addEventListener("click", (event) => { if (place(event).across < RIBBON.left) store.cursor.move({ edge: store.cursor.hover }); });
  box.addEventListener("pointerleave", () => { row = null; store.cursor.move({ hover: "" }); });

  function place(event) {
    const frame = box.getBoundingClientRect();
    return { down: event.clientY - frame.top, across: event.clientX - frame.left };
  }

  function point(event, drag) {
    if (!store.rows?.length) return;
    const { down, across } = place(event);
    const inside = across >= RIBBON.left && across <= width - RIBBON.right;
    const share = (across - RIBBON.left) / (width - RIBBON.left - RIBBON.right);
    row = inside ? clamp(Math.floor(share * store.rows.total), 0, store.rows.length - 1) : null;
    const move = { hover: edgeAt(down) };
    if (drag && inside) move.t = row;
    store.cursor.move(move);
    store.changed();
  }

  function edgeAt(down) {
    for (let cell = 0; cell < store.rows.cells; cell++) {
      const edge = Math.floor((down - top(cell, 0)) / rowHeight());
      if (edge >= 0 && edge < store.rows.edges) return `${store.rows.head.cells[cell]}:${edge}`;
    }
    return "";
  }

  function fit(target) {
    const wide = Math.round(width * devicePixelRatio), high = Math.round(height() * devicePixelRatio);
    if (target.width !== wide || target.height !== high) Object.assign(target, { width: wide, height: high });
    const pen = target.getContext("2d");
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    return pen;
  }

  // Paints the rows that are new since the last time, or all of them on another scale.
  function extend() {
    const { rows, setup } = store;
    const key = `${rows.head.id}|${rows.total}|${width}|${devicePixelRatio}`;
    const fresh = painted.key !== key || painted.length > rows.length;
    const start = fresh ? 0 : painted.length;
    if (!fresh && start === rows.length) return;
    const pen = fit(still);
    if (fresh) pen.clearRect(0, 0, width, height());
    const stride = Math.max(1, Math.floor(rows.total / (2 * width)));
    for (let cell = 0; cell < rows.cells; cell++) for (let edge = 0; edge < rows.edges; edge++) {
      const y = top(cell, edge);
      for (let t = start - start % stride; t < rows.length; t += stride) {
        const left = pixel(t), right = pixel(Math.min(t + stride, rows.total));
        pen.clearRect(left, y, right - left, rowHeight() - 2);
        pen.globalAlpha = 0.2 + 0.8 * rows.at("sure", t, cell, edge) / 255;
        pen.fillStyle = setup.colours[rows.at("derived", t, cell, edge)];
        pen.fillRect(left, y, right - left, rowHeight() - 2);
      }
    }
    pen.globalAlpha = 1;
    painted = { key, length: rows.length };
  }

  function update() {
    if (!store.rows || store.t < 0) return;
    box.style.height = `${height()}px`;
    if (width < 300) return;
    ink ??= Object.fromEntries(["ink", "soft", "focus", "panel"].map((name) => [name, colourOf(panel, `--${name}`)]));
    extend();
    const pen = fit(canvas);
    canvas.style.width = `${width}px`;
    pen.clearRect(0, 0, width, height());
    pen.drawImage(still, 0, 0, still.width / devicePixelRatio, still.height / devicePixelRatio);
    names(pen);
    events(pen);
    cursorLine(pen);
    set(pointedAt, { text: readout() });
    set(caption, { text: `colour = leading op · depth = ${store.rows.head.reading.depth} · ○ death · ● birth · at the right all ops of the step at the cursor` });
  }

  function names(pen) {
    const { rows, setup, t, chosen } = store;
    pen.font = `${rowHeight() > 10 ? 11 : 9.5}px system-ui, "DejaVu Sans", sans-serif`;
    pen.textBaseline = "middle";
    for (let cell = 0; cell < rows.cells; cell++) for (let edge = 0; edge < rows.edges; edge++) {
      const y = top(cell, edge), middle = y + (rowHeight() - 2) / 2 + 0.5;
      const mine = chosen && chosen[0] === cell && chosen[1] === edge;
      pen.textAlign = "right";
      pen.fillStyle = mine ? ink.focus : ink.soft;
      pen.fillText(setup.edges[edge], RIBBON.left - 8, middle);
      if (edge === 0) {
        pen.textAlign = "left";
        pen.fillStyle = ink.soft;
        pen.fillText(rows.head.cells[cell], 0, middle);
      }
      stack(pen, t, cell, edge, y);
      if (!mine) continue;
      pen.strokeStyle = ink.focus;
      pen.lineWidth = 1;
      pen.strokeRect(RIBBON.left - 1, y - 1, width - RIBBON.left + 1.5 - 12 + 11, rowHeight());
    }
  }

  function stack(pen, t, cell, edge, y) {
    const { rows, setup } = store;
    let left = width - RIBBON.right + 12;
    const room = (RIBBON.right - 12) / rows.full;
    for (let op = 0; op < rows.ops; op++) {
      const size = (rows.at("probs", t, cell, edge, op) || 0) * room;
      pen.fillStyle = setup.colours[op];
      pen.fillRect(left, y, size, rowHeight() - 2);
      left += size;
    }
  }

  function events(pen) {
    pen.strokeStyle = ink.ink;
    pen.lineWidth = 1.2;
    for (const [t, cell, edge, birth] of store.rows.events) {
      pen.beginPath();
      pen.arc(x(t), top(cell, edge) + (rowHeight() - 2) / 2, rowHeight() > 10 ? 3.2 : 2.6, 0, 2 * Math.PI);
      pen.fillStyle = birth ? ink.ink : ink.panel;
      pen.fill();
      pen.stroke();
    }
  }

  function cursorLine(pen) {
    pen.fillStyle = ink.focus;
    pen.fillRect(x(store.t + 0.5) - 0.8, 0, 1.6, height());
  }

  function readout() {
    const { rows, setup, chosen } = store;
    if (row === null || !chosen || !store.cursor.hover) return "";
    const op = rows.at("derived", row, ...chosen), p = rows.at("probs", row, ...chosen, op);
    return `${setup.edges[chosen[1]]} at step ${rows.steps[row]}: ${setup.labels[op]} ${share(p)}`;
  }

  return { element: panel, update };
}
