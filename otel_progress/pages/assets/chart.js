// A line over runs, small enough for a cell of a table.
import { h, svg } from "./dom.js";

const WIDTH = 220;
const HEIGHT = 44;
const MARGIN = 4;

// Points: {value: number or null, low, high: numbers, of a band, title}. The line begins at 0; `top` is the least that it
// reaches to. What it shows is told as a text too, in `label`.
export function chart(points, { top, label, kind }) {
  const most = Math.max(top, ...points.map((point) => point.high ?? point.value ?? 0)) || 1;
  const x = (place) => (points.length === 1 ? WIDTH / 2 : MARGIN + (place / (points.length - 1)) * (WIDTH - 2 * MARGIN));
  const y = (value) => HEIGHT - MARGIN - (value / most) * (HEIGHT - 2 * MARGIN);
  const at = (place, value) => `${x(place).toFixed(1)},${y(value).toFixed(1)}`;
  const known = points.map((point, place) => ({ ...point, place })).filter((point) => point.value !== null);
  const band = known.filter((point) => point.high !== undefined && point.high > point.low);
  const around = [...band.map((point) => at(point.place, point.high)), ...band.toReversed().map((point) => at(point.place, point.low))];
  return svg("svg", { class: `chart ${kind}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": label },
    svg("line", { class: "ground", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }),
    band.length > 1 && svg("polygon", { class: "band", points: around.join(" ") }),
    svg("polyline", { class: "line", points: known.map((point) => at(point.place, point.value)).join(" ") }),
    known.map((point) => svg("circle", { cx: x(point.place).toFixed(1), cy: y(point.value).toFixed(1), r: known.length > 30 ? 1.6 : 2.4 }, svg("title", {}, point.title))));
}

// A chart with the last value beside it.
export function chartWith(last, ...of) {
  return h("div", { class: "with" }, chart(...of), h("span", {}, last));
}
