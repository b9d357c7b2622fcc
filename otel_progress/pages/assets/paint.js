// The bars of a waterfall on a canvas. It paints what is in view, and gives back what it has painted.
import { shown } from "./dom.js";
import { tickText, ticksOf } from "./scale.js";
import { colourOf } from "./theme.js";
import { duration, NANO, signOf } from "./words.js";

export const ROW = 22;
export const AXIS = 24;
const FULL = 14; // Pixels of the critical path; what goes on beside it is thinner.
const THIN = 8; // Also of waits and failed attempts, so that a path behind them is seen.
const MOST_OF_AN_ITEM = 24; // Letters.
const LEAST = 1; // Pixels that the shortest bar has.
const FONT = "12px system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif";
const COLOURS = ["back", "panel", "text", "dim", "line", "critical", "beside", "edge", "failed", "wait", "arrow", "marked", "bad"];

export function painter(canvas) {
  const context = canvas.getContext("2d");
  let colours = {};
  let hatch = {};
  function recolour() {
    colours = Object.fromEntries(COLOURS.map((name) => [name, colourOf(name)]));
    hatch = { wait: stripes(context, colours.wait, 1), failed: stripes(context, colours.failed, -1) };
  }
  recolour();
  return { recolour, paint: (scene) => paint(context, colours, hatch, scene) };
}

// Lines from left below to right above (1), or the other way (-1), so that no colour is needed to tell them apart.
function stripes(context, colour, direction) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d");
  pen.strokeStyle = colour;
  pen.lineWidth = 2;
  for (const shift of [-6, 0, 6]) {
    pen.beginPath();
    pen.moveTo(shift, direction > 0 ? 6 : 0);
    pen.lineTo(shift + 6, direction > 0 ? 0 : 6);
    pen.stroke();
  }
  return context.createPattern(tile, "repeat");
}

// `scene`: visits, rows (indices of visits), rowOf, scale, top (pixels scrolled), width, height, ratio, selected (an
// index or -1), marked (a stage or null), links (of what is selected).
function paint(pen, colours, hatch, scene) {
  const { rows, scale, top, width, height, ratio } = scene;
  const bars = [];
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.fillStyle = colours.back;
  pen.fillRect(0, 0, width, height);
  pen.font = FONT;
  pen.textBaseline = "middle";
  axis(pen, colours, scene);
  pen.save();
  pen.beginPath();
  pen.rect(0, AXIS, width, height - AXIS);
  pen.clip();
  const first = Math.max(0, Math.floor(top / ROW));
  const last = Math.min(rows.length, Math.ceil((top + height - AXIS) / ROW));
  for (let row = first; row < last; row += 1) {
    const index = rows[row];
    const visit = scene.visits[index];
    const y = AXIS + row * ROW - top;
    const isMarked = scene.marked !== null && visit.stage === scene.marked;
    if (index === scene.selected || isMarked) {
      pen.fillStyle = index === scene.selected ? colours.panel : colours.marked;
      pen.fillRect(0, y, width, ROW);
    }
    pen.globalAlpha = scene.marked !== null && !isMarked && index !== scene.selected ? 0.35 : 1;
    paintVisit(pen, colours, hatch, scene, visit, y, bars);
    pen.globalAlpha = 1;
  }
  for (const link of scene.links) arrow(pen, colours, scene, link);
  pen.restore();
  return bars;
}

function axis(pen, colours, { scale, height }) {
  const { step, found } = ticksOf(scale, 90);
  pen.fillStyle = colours.dim;
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  for (const at of found) {
    const x = Math.round(scale.x(at)) + 0.5;
    pen.beginPath();
    pen.moveTo(x, 6);
    pen.lineTo(x, height);
    pen.stroke();
    const text = tickText(at, step);
    if (x + 6 + pen.measureText(text).width <= scale.width()) pen.fillText(text, x + 4, AXIS / 2);
  }
  pen.beginPath();
  pen.moveTo(0, AXIS - 0.5);
  pen.lineTo(scale.width(), AXIS - 0.5);
  pen.stroke();
}

function paintVisit(pen, colours, hatch, scene, visit, y, bars) {
  const { scale, width } = scene;
  const note = (kind, at, end, high) => {
    const bar = { kind, visit: visit.id, x: scale.x(at), width: Math.max(scale.x(end) - scale.x(at), LEAST), y: y + (ROW - high) / 2, height: high };
    bars.push(bar);
    return bar;
  };
  const whole = note("visit", visit.at, visit.end, THIN);
  if (whole.x < width && whole.x + whole.width > 0) {
    fill(pen, colours.beside, whole, width);
    pen.strokeStyle = visit.result === "failure" ? colours.bad : colours.edge;
    pen.lineWidth = 1;
    pen.setLineDash(visit.result === "failure" ? [4, 3] : []);
    const left = Math.max(whole.x, -2);
    const right = Math.min(whole.x + whole.width, width + 2);
    if (right - left > 3) pen.strokeRect(left + 0.5, whole.y + 0.5, right - left - 1, whole.height - 1);
    pen.setLineDash([]);
  }
  for (const [at, end] of visit.critical ?? []) fill(pen, colours.critical, note("critical", at, end, FULL), width);
  for (const each of visit.waits ?? []) over(pen, colours, hatch.wait, note("wait", each.at, each.end, THIN), width);
  for (const each of visit.failed ?? []) over(pen, colours, hatch.failed, note("failed", each.at, each.end, THIN), width);
  label(pen, colours, scene, visit, whole, y);
}

function fill(pen, colour, bar, width) {
  const left = Math.max(bar.x, -2);
  const right = Math.min(bar.x + bar.width, width + 2);
  if (right <= left) return;
  pen.fillStyle = colour;
  pen.fillRect(left, bar.y, right - left, bar.height);
}

// Stripes over the bar, on the ground of the page, so that they are seen in every colour below.
function over(pen, colours, pattern, bar, width) {
  fill(pen, colours.back, bar, width);
  fill(pen, pattern, bar, width);
}

// How long it took, and what else is to be seen: behind the bar, or before it, or over it where there is room nowhere else.
function label(pen, colours, { scale, width }, visit, bar, y) {
  const said = [visit.open ? `${duration((visit.end - visit.at) / NANO)} so far` : duration((visit.end - visit.at) / NANO)];
  if (visit.item) said.push(visit.item.length > MOST_OF_AN_ITEM ? `${visit.item.slice(0, MOST_OF_AN_ITEM)}…` : visit.item);
  if (visit.number) said.push(`↻${visit.number}`);
  if (visit.revision) said.push(`rev ${visit.revision}`);
  if (visit.retries) said.push(`⟳${visit.retries}`);
  if (visit.state && visit.state !== "unknown") said.push(`${signOf(visit.state)} ${visit.state}`);
  else if (visit.result && visit.result !== "success") said.push(`${signOf(visit.result)} ${visit.result}`);
  if (bar.x > width || bar.x + bar.width < 0) return;
  const text = shown(said.join("  "));
  const long = pen.measureText(text).width;
  const right = Math.min(bar.x + bar.width, width);
  const left = Math.max(bar.x, 0);
  let x = right + 6;
  if (x + long > width) x = left - 6 - long;
  if (x < 0) x = Math.max(left + 6, right - 6 - long);
  if (x >= left && x < right) {
    pen.strokeStyle = colours.back;
    pen.lineWidth = 4;
    pen.lineJoin = "round";
    pen.strokeText(text, x, y + ROW / 2);
  }
  pen.fillStyle = colours.text;
  pen.fillText(text, x, y + ROW / 2);
}

// From the end of what was followed to the start of what followed it; a repeat is dashed.
function arrow(pen, colours, { scale, top }, { from, to, fromRow, toRow, kind }) {
  const x1 = scale.x(from.end);
  const x2 = scale.x(to.at);
  const y1 = AXIS + (fromRow + 0.5) * ROW - top;
  const y2 = AXIS + (toRow + 0.5) * ROW - top;
  const bow = Math.max(14, Math.min(60, Math.abs(x2 - x1) / 2));
  pen.strokeStyle = pen.fillStyle = colours.arrow;
  pen.lineWidth = 1.75;
  pen.setLineDash(kind === "repeats" ? [5, 4] : []);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.bezierCurveTo(x1 + bow, y1, x2 - bow, y2, x2 - 5, y2);
  pen.stroke();
  pen.setLineDash([]);
  pen.beginPath();
  pen.moveTo(x2, y2);
  pen.lineTo(x2 - 7, y2 - 4);
  pen.lineTo(x2 - 7, y2 + 4);
  pen.fill();
}
