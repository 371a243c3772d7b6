// Every edge over time on the timeline's own scale: colour = leading op, depth = certainty. A canvas, since a long
// run has tens of thousands of patches; beside it all ops of the row at the cursor.

const RIBBON = { left: 104, right: 150, gap: 6 };  // the timeline of the transport bar uses left and right too

function ribbonsPanel(store) {
  const canvas = make("canvas", { role: "img", "aria-label": "every edge over time" });
  const box = make("div", { class: "ribbons-box" }, canvas);
  const panel = make("section", { class: "panel ribbons", "aria-label": "edges over time" },
    make("h2", { text: "edges over time — colour: leading op, depth: certainty, ○ death, ● birth; right: all ops at the cursor" }), box);
  const still = document.createElement("canvas");  // the ribbons alone, painted once and extended as rows arrive
  let painted = null, width = 0;

  const rowHeight = () => (store.rows.cells * store.rows.edges > 16 ? 9 : 13);
  const top = (cell, edge) => cell * (store.rows.edges * rowHeight() + RIBBON.gap) + edge * rowHeight();
  const height = () => store.rows.cells * (store.rows.edges * rowHeight() + RIBBON.gap);
  const x = (t) => RIBBON.left + t / store.rows.total * (width - RIBBON.left - RIBBON.right);

  new ResizeObserver(() => { painted = null; update(); }).observe(box);
  store.addEventListener("theme", () => { painted = null; update(); });
  box.addEventListener("pointermove", (event) => point(event, event.buttons === 1));
  box.addEventListener("pointerdown", (event) => point(event, true));
  box.addEventListener("pointerleave", () => store.cursor.move({ hover: "" }));

  function point(event, drag) {
    if (!store.rows) return;
    const place = box.getBoundingClientRect();
    const down = event.clientY - place.top, across = event.clientX - place.left;
    for (let cell = 0; cell < store.rows.cells; cell++) {
      const edge = Math.floor((down - top(cell, 0)) / rowHeight());
      if (edge < 0 || edge >= store.rows.edges) continue;
      const hover = `${store.rows.head.cells[cell]}:${edge}`;
      if (hover !== store.cursor.hover) store.cursor.move({ hover });
    }
    if (drag && across >= RIBBON.left && across <= width - RIBBON.right) {
      const share = (across - RIBBON.left) / (width - RIBBON.left - RIBBON.right);
      store.cursor.move({ t: clamp(Math.floor(share * store.rows.total), 0, store.rows.length - 1) });
    }
  }

  function context(target, fresh) {
    const ratio = window.devicePixelRatio || 1;
    if (fresh) {
      target.width = Math.round(width * ratio);
      target.height = Math.round(height() * ratio);
    }
    const pen = target.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return pen;
  }

  function extend() {
    const { rows, setup } = store;
    const key = `${rows.head.id}|${rows.total}|${width}`;
    const start = painted?.key === key ? painted.length : 0;
    if (painted?.key === key && painted.length > rows.length) painted = null;
    const pen = context(still, !painted || painted.key !== key);
    const step = Math.max(1, Math.floor(rows.total / (2 * width)));
    for (let cell = 0; cell < rows.cells; cell++) for (let edge = 0; edge < rows.edges; edge++) {
      const y = top(cell, edge);
      for (let t = start - start % step; t < rows.length; t += step) {
        let best = 0;
        for (let op = 1; op < rows.ops; op++) {
          if (rows.at("probs", t, cell, edge, op) > rows.at("probs", t, cell, edge, best)) best = op;
        }
        pen.clearRect(x(t), y, x(t + step) - x(t), rowHeight() - 2);
        pen.globalAlpha = 0.2 + 0.8 * rows.at("sure", t, cell, edge) / 255;
        pen.fillStyle = setup.colours[best];
        pen.fillRect(x(t), y, x(t + step) - x(t) + 0.3, rowHeight() - 2);
      }
    }
    pen.globalAlpha = 1;
    painted = { key, length: rows.length };
  }

  function update() {
    if (!store.rows || store.t < 0) return;
    if (box.clientWidth !== width) { width = box.clientWidth; painted = null; }
    if (width < 300) return;
    box.style.height = `${height()}px`;
    extend();
    const { rows, setup, t } = store;
    const look = getComputedStyle(panel);
    const [ink, soft, focus, ground] = ["--ink", "--soft", "--focus", "--panel"].map((name) => look.getPropertyValue(name));
    const pen = context(canvas, true);
    canvas.style.width = `${width}px`;
    pen.save();
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(still, 0, 0);
    pen.restore();
    pen.font = `${rowHeight() > 10 ? 10 : 8.5}px system-ui, "DejaVu Sans", sans-serif`;
    const chosen = store.chosen;
    for (let cell = 0; cell < rows.cells; cell++) for (let edge = 0; edge < rows.edges; edge++) {
      const y = top(cell, edge), mine = chosen && chosen[0] === cell && chosen[1] === edge;
      pen.textAlign = "right";
      pen.fillStyle = mine ? focus : soft;
      pen.fillText(setup.edges[edge], RIBBON.left - 7, y + rowHeight() - 4);
      if (edge === 0) {
        pen.textAlign = "left";
        pen.fillText(rows.head.cells[cell], 4, y + rowHeight() - 4);
      }
      let place = width - RIBBON.right + 12;
      for (let op = 0; op < rows.ops; op++) {
        const size = (rows.at("probs", t, cell, edge, op) || 0) * (RIBBON.right - 16);
        pen.fillStyle = setup.colours[op];
        pen.fillRect(place, y, size, rowHeight() - 2);
        place += size;
      }
      if (mine) {
        pen.strokeStyle = focus;
        pen.strokeRect(RIBBON.left - 0.5, y - 0.5, width - RIBBON.left - RIBBON.right + 1, rowHeight() - 1);
      }
    }
    for (const [row, cell, edge, birth] of rows.events) {
      pen.beginPath();
      pen.arc(x(row), top(cell, edge) + (rowHeight() - 2) / 2, 2.8, 0, 7);
      pen.fillStyle = birth ? ink : ground;
      pen.strokeStyle = ink;
      pen.fill();
      pen.stroke();
    }
    pen.strokeStyle = focus;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(x(t + 0.5), 0);
    pen.lineTo(x(t + 0.5), height());
    pen.stroke();
  }

  return { element: panel, update };
}
