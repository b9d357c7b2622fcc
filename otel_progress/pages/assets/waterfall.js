// The visits of a run over its time: names on the left as elements, bars on the right on a canvas. Both hold only what
// is in view, so that there may be very many of them.
import { h, lasting, shown } from "./dom.js";
import { AXIS, painter, ROW } from "./paint.js";
import { rowsOf, treeOf } from "./rows.js";
import { scaleOf } from "./scale.js";
import { behind, count, duration, NANO } from "./words.js";

const MOST_PRINTED = 100;
const DEEPEST = 10; // From there on names are moved to the right no more.
const STEP = 1.6; // Of a zoom by key or button.

// `chosen(index)` is called when somebody selects a visit. `name` tells several on one page apart.
export function waterfall(visits, { name = "waterfall", seconds = 0, chosen = () => {} } = {}) {
  const tree = treeOf(visits);
  const byId = new Map(visits.map((visit, index) => [visit.id, index]));
  const last = visits.reduce((most, visit) => Math.max(most, visit.end), Math.round(seconds * NANO));
  const scale = scaleOf(0, last);
  const closed = new Set();
  let rows = [];
  let rowOf = new Int32Array(visits.length);
  let selected = -1;
  let marked = null;
  let bars = [];
  let asked = 0;
  let printing = false;

  const canvas = h("canvas", { "aria-hidden": "true" });
  const names = h("div", { role: "tree", tabindex: 0, class: "names", "aria-label": "Visits, by what they lie in", "aria-describedby": `${name}-keys` });
  const chart = h("div", { class: "chart" },
    h("div", { class: "left" }, h("div", { class: "corner", "aria-hidden": "true" }, "stage"), names),
    h("div", { class: "lanes" }, canvas));
  const hover = h("div", { class: "hover", hidden: true, "aria-hidden": "true" });
  const printed = h("p", { class: "printed dim" });
  const brush = painter(canvas);

  // --- what has a row, and what is in view

  function arrange() {
    rows = rowsOf(tree, closed);
    rowOf.fill(-1);
    rows.forEach((index, row) => { rowOf[index] = row; });
    const high = AXIS + rows.length * ROW;
    names.style.height = `${rows.length * ROW}px`;
    chart.style.height = printing ? `${AXIS + Math.min(rows.length, MOST_PRINTED) * ROW}px` : `min(${high + 2}px, max(60vh, 300px))`;
    printed.textContent = rows.length > MOST_PRINTED ? `The first ${MOST_PRINTED} of ${rows.length} rows.` : "";
    ask();
  }

  function ask() {
    if (asked === 0) asked = requestAnimationFrame(draw);
  }

  function draw() {
    cancelAnimationFrame(asked);
    asked = 0;
    const width = canvas.parentElement.clientWidth;
    const height = chart.clientHeight;
    const ratio = printing ? 2 : window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    scale.resize(width);
    bars = brush.paint({ visits, rows, scale, top: chart.scrollTop, width, height, ratio, selected, marked, links: linksOf(selected) });
    drawNames(height);
  }

  // --- names

  const made = new Map(); // Rows that have an element, by the index of their visit.

  function drawNames(height) {
    const first = Math.max(0, Math.floor(chart.scrollTop / ROW) - 2);
    const end = Math.min(rows.length, Math.ceil((chart.scrollTop + height) / ROW) + 2);
    const wanted = new Set(rows.slice(first, end));
    if (selected >= 0 && rowOf[selected] >= 0) wanted.add(selected); // The one that has the focus is always there.
    for (const [index, element] of made) {
      if (!wanted.has(index)) {
        element.remove();
        made.delete(index);
      }
    }
    for (const index of wanted) {
      let element = made.get(index);
      if (element === undefined) {
        element = nameOf(index);
        made.set(index, element);
        names.append(element);
      }
      element.style.transform = `translateY(${rowOf[index] * ROW}px)`;
      element.setAttribute("aria-selected", index === selected ? "true" : "false");
      if (tree.holds(index)) element.setAttribute("aria-expanded", closed.has(index) ? "false" : "true");
      element.classList.toggle("marked", visits[index].stage === marked);
    }
    const active = made.get(selected);
    if (active === undefined) names.removeAttribute("aria-activedescendant");
    else names.setAttribute("aria-activedescendant", active.id);
  }

  function nameOf(index) {
    const visit = visits[index];
    const element = h("div", {
      role: "treeitem", id: `${name}-${index}`, class: `row${visit.critical ? " critical" : ""}`, "aria-level": visit.depth + 1,
      "aria-posinset": tree.place[index], "aria-setsize": tree.beside[index], "aria-label": saidOf(visit), "data-visit": visit.id, title: visit.stage,
    }, h("span", { class: "twist", "aria-hidden": "true" }), h("span", { class: "text" }, visit.stage || "(no name)"));
    element.style.paddingLeft = `${4 + Math.min(visit.depth, DEEPEST) * 12}px`;
    return element;
  }

  function linksOf(index) {
    if (index < 0) return [];
    const found = [];
    const add = (from, to, kind) => {
      if (rowOf[from] >= 0 && rowOf[to] >= 0) found.push({ from: visits[from], to: visits[to], fromRow: rowOf[from], toRow: rowOf[to], kind });
    };
    for (const link of visits[index].links ?? []) if (byId.has(link.visit)) add(byId.get(link.visit), index, link.kind);
    for (const each of followers().get(visits[index].id) ?? []) add(index, each.index, each.kind);
    return found;
  }

  let known = null;
  function followers() {
    if (known === null) {
      known = new Map();
      visits.forEach((visit, index) => (visit.links ?? []).forEach((link) => {
        if (!known.has(link.visit)) known.set(link.visit, []);
        known.get(link.visit).push({ index, kind: link.kind });
      }));
    }
    return known;
  }

  // --- what somebody does

  function select(index, { tell = true } = {}) {
    if (index < 0 || index >= visits.length) return;
    for (let each = tree.parent[index]; each >= 0; each = tree.parent[each]) closed.delete(each);
    selected = index;
    arrange();
    const row = rowOf[index];
    const room = chart.clientHeight - AXIS;
    if (row * ROW < chart.scrollTop) chart.scrollTop = row * ROW;
    else if ((row + 1) * ROW > chart.scrollTop + room) chart.scrollTop = (row + 1) * ROW - room;
    const visit = visits[index];
    if (visit.end < scale.view.from || visit.at > scale.view.to) scale.pan(scale.x((visit.at + visit.end) / 2) - scale.width() / 2);
    draw();
    if (tell) chosen(index);
  }

  function toggle(index, close = !closed.has(index)) {
    if (!tree.holds(index)) return;
    if (close) closed.add(index);
    else closed.delete(index);
    arrange();
  }

  function all(close) {
    closed.clear();
    if (close) visits.forEach((_, index) => tree.holds(index) && closed.add(index));
    if (close && selected >= 0) {
      while (tree.parent[selected] >= 0) selected = tree.parent[selected];
      chosen(selected);
    }
    arrange();
  }

  function zoomTo(index) {
    const visit = visits[index];
    const margin = Math.max((visit.end - visit.at) * 0.1, 1000);
    scale.show(visit.at - margin, visit.end + margin);
    ask();
  }

  function zoom(factor, x) {
    scale.zoom(factor, x);
    ask();
  }

  function pan(pixels) {
    scale.pan(pixels);
    ask();
  }

  function fit() {
    scale.fit();
    ask();
  }

  const move = (by) => select(rows[Math.min(Math.max((selected < 0 || rowOf[selected] < 0 ? -1 : rowOf[selected]) + by, 0), rows.length - 1)]);
  const page = () => Math.max(1, Math.floor((chart.clientHeight - AXIS) / ROW) - 1);
  const KEYS = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    PageDown: () => move(page()),
    PageUp: () => move(-page()),
    Home: () => select(rows[0]),
    End: () => select(rows[rows.length - 1]),
    ArrowRight: () => (closed.has(selected) ? toggle(selected, false) : selected >= 0 && tree.holds(selected) && select(selected + 1)),
    ArrowLeft: () => (selected >= 0 && tree.holds(selected) && !closed.has(selected) ? toggle(selected, true) : selected >= 0 && select(tree.parent[selected])),
    Enter: () => selected >= 0 && zoomTo(selected),
    f: () => selected >= 0 && follow(),
    "+": () => zoom(STEP),
    "=": () => zoom(STEP),
    "-": () => zoom(1 / STEP),
    0: fit,
  };
  const SHIFTED = { ArrowRight: () => pan(scale.width() / 5), ArrowLeft: () => pan(-scale.width() / 5) };

  function follow() {
    const link = (visits[selected].links ?? []).find((each) => byId.has(each.visit));
    if (link !== undefined) select(byId.get(link.visit));
  }

  names.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = (event.shiftKey && SHIFTED[event.key]) || KEYS[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
  names.addEventListener("click", (event) => {
    const element = event.target.closest("[role=treeitem]");
    if (element === null) return;
    const index = byId.get(element.dataset.visit);
    if (event.target.classList.contains("twist") && tree.holds(index)) toggle(index);
    else select(index);
  });
  names.addEventListener("dblclick", (event) => {
    const element = event.target.closest("[role=treeitem]");
    if (element !== null && !event.target.classList.contains("twist")) toggle(byId.get(element.dataset.visit));
  });
  chart.addEventListener("scroll", ask, { passive: true });

  const rowAt = (event) => {
    const y = event.clientY - canvas.getBoundingClientRect().top;
    return y < AXIS ? undefined : rows[Math.floor((y - AXIS + chart.scrollTop) / ROW)];
  };
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag !== null) {
      const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.abs(right) + Math.abs(down) < 4) return;
      drag = { x: event.clientX, y: event.clientY, moved: true };
      hover.hidden = true;
      pan(-right);
      if (event.pointerType === "mouse") chart.scrollTop -= down;
    } else point(event);
  });
  canvas.addEventListener("pointerup", (event) => {
    const index = rowAt(event);
    if (drag !== null && !drag.moved && index !== undefined) {
      select(index);
      names.focus({ preventScroll: true });
    }
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => { drag = null; });
  canvas.addEventListener("pointerleave", () => { hover.hidden = true; });
  canvas.addEventListener("dblclick", (event) => rowAt(event) !== undefined && zoomTo(rowAt(event)));
  canvas.addEventListener("wheel", (event) => {
    const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 300), event.clientX - canvas.getBoundingClientRect().left);
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(sideways);
    else return;
    event.preventDefault();
  }, { passive: false });

  function point(event) {
    const index = rowAt(event);
    hover.hidden = index === undefined;
    if (index === undefined) return;
    const visit = visits[index];
    hover.replaceChildren(h("b", {}, visit.stage || "(no name)"), h("br"), saidOf(visit, false));
    const box = chart.parentElement.getBoundingClientRect();
    hover.style.left = `${Math.max(0, Math.min(event.clientX - box.left + 14, box.width - hover.offsetWidth - 4))}px`;
    hover.style.top = `${event.clientY - box.top + 16}px`;
  }

  // --- the parts together

  const button = (text, label, click) => h("button", { type: "button", "aria-label": label, title: label, click }, text);
  const tools = h("div", { class: "tools" },
    button("−", "Zoom out", () => zoom(1 / STEP)), button("+", "Zoom in", () => zoom(STEP)), button("Fit", "Show the whole run", fit),
    visits.some((_, index) => tree.holds(index)) && [button("Collapse all", "Collapse all", () => all(true)), button("Expand all", "Expand all", () => all(false))],
    legend());
  const keys = h("p", { class: "keys dim", id: `${name}-keys` },
    "Keys: ↑ ↓ choose, ← → close and open, + − 0 zoom, Shift with ← → pan, Enter zoom to the visit, F go to what it followed. Mouse: drag to pan, Ctrl with the wheel to zoom.");
  const element = h("div", { class: "waterfall" }, tools, h("div", { class: "framed" }, chart, hover), printed, keys);
  new ResizeObserver(ask).observe(chart);
  matchMedia("print").addEventListener("change", (event) => {
    printing = event.matches;
    chart.classList.toggle("printing", printing);
    chart.scrollTop = 0;
    arrange();
    brush.recolour();
    draw();
  }, lasting());
  arrange();

  return {
    element, select, draw,
    recolour: () => { brush.recolour(); draw(); },
    mark: (stage) => { marked = stage; draw(); },
    index: (id) => byId.get(id) ?? -1,
    followers: (id) => (followers().get(id) ?? []).map((each) => ({ visit: visits[each.index], kind: each.kind })),
    // What was painted last: for each bar its kind, the visit, and where it is, in pixels of the canvas.
    bars: () => bars,
    rows: () => rows.map((index) => visits[index].id),
    view: () => ({ ...scale.view, width: scale.width(), selected: visits[selected]?.id ?? null, marked }),
    show: (from, to) => { scale.show(from, to); draw(); },
    // What somebody has made of it, and the same made of one that is drawn anew, of the run as it is then.
    kept: () => ({ view: { ...scale.view }, whole: last, closed: [...closed].map((index) => visits[index].id), selected: visits[selected]?.id, top: chart.scrollTop }),
    keep: (before) => {
      for (const id of before.closed) if (byId.has(id)) closed.add(byId.get(id));
      if (before.view.from > 0 || before.view.to < before.whole) scale.show(before.view.from, before.view.to);
      arrange();
      if (byId.has(before.selected)) select(byId.get(before.selected));
      chart.scrollTop = before.top;
      draw();
    },
  };
}

// A visit in words: for a screen reader with the name, below the pointer without.
export function saidOf(visit, named = true) {
  const said = [
    named && (visit.stage || "(no name)"),
    behind("for", visit.item),
    visit.number && `visit ${visit.number}`,
    visit.revision !== undefined && `revision ${visit.revision}`,
    `${duration((visit.end - visit.at) / NANO)}${visit.open ? " so far" : ""}, from ${duration(visit.at / NANO)} on`,
    visit.state ?? visit.result,
    visit.error !== visit.result && visit.error,
    visit.attempts && `${visit.attempts} attempts`,
    visit.wait && `waited ${duration(visit.wait)}`,
    visit.critical && "on the critical path",
    behind("action", visit.action),
    visit.failed && `${count(visit.failed.length, "failed attempt")}`,
  ];
  return shown(said.filter(Boolean).join(", "));
}

function legend() {
  const each = (kind, text) => h("li", {}, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), text);
  return h("ul", { class: "legend", "aria-label": "What the bars mean" },
    each("critical", "critical path"), each("beside", "beside it"), each("waits", "waits"), each("failed", "failed attempt"),
    h("li", {}, "↻2 a repeat"), h("li", {}, "⟳1 a retry"), h("li", {}, "✕ failed"), h("li", {}, h("span", { class: "swatch arrow", "aria-hidden": "true" }), "followed (of the chosen one)"));
}
