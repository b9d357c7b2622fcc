// Two small pictures of a row of a comparison: how the runs are spread, and how sure its change is.
import { svg } from "./dom.js";
import { duration } from "./words.js";

const WIDTH = 220;
const EDGE = 4;
const LANE = 14;
const LEAST = 0.25; // The interval's picture shows at least changes of so much.

// Each run as a line: base above, new below, over the same time from 0 on.
export function spread(row) {
  const most = Math.max(...row.base_each, ...row.new_each, Number.MIN_VALUE);
  const x = (seconds) => EDGE + ((WIDTH - 2 * EDGE) * seconds) / most;
  const lane = (name, each, median, top) => svg("g", { class: name },
    svg("line", { class: "axis", x1: EDGE, x2: WIDTH - EDGE, y1: top + LANE / 2, y2: top + LANE / 2 }),
    each.map((seconds) => svg("line", { class: "one", x1: x(seconds), x2: x(seconds), y1: top + 3, y2: top + LANE - 3 })),
    svg("line", { class: "median", x1: x(median), x2: x(median), y1: top, y2: top + LANE }));
  const said = [["base", row.base_each], ["new", row.new_each]].map(([name, each]) => `${name} ${duration(Math.min(...each))} to ${duration(Math.max(...each))}`);
  return svg("svg", { class: "spread", role: "img", width: WIDTH, height: 2 * LANE, "aria-label": said.join(", ") },
    lane("base", row.base_each, row.base_seconds, 0), lane("new", row.new_each, row.new_seconds, LANE));
}

// How far the pictures of a workflow's intervals reach, as a logarithm: they have one scale, of what is known well.
export function reachOf(rows, smallest) {
  const told = rows.flatMap((row) => [row.change, ...(row.verdict === "too few" ? [] : [row.low, row.high])]);
  return Math.max(Math.log1p(LEAST), 2 * Math.log1p(smallest), ...told.filter((each) => each !== null).map((each) => Math.abs(Math.log1p(each))));
}

// The change and its interval, beside the band of what does not matter. What reaches further ends at the edge.
export function interval(row, smallest, reach, text) {
  const x = (part) => WIDTH / 2 + (WIDTH / 2 - EDGE) * Math.max(-1, Math.min(1, Math.log1p(part) / reach));
  const [low, high] = [row.low === null ? EDGE : x(row.low), row.high === null ? WIDTH - EDGE : x(row.high)];
  const [from, to] = [x(1 / (1 + smallest) - 1), x(smallest)];
  const middle = LANE / 2 + 3;
  return svg("svg", { class: `interval ${row.verdict.replace(" ", "-")}`, role: "img", width: WIDTH, height: 2 * middle, "aria-label": text },
    svg("rect", { class: "band", x: from, width: to - from, y: 0, height: 2 * middle }),
    svg("line", { class: "nothing", x1: WIDTH / 2, x2: WIDTH / 2, y1: 0, y2: 2 * middle }),
    svg("line", { class: "range", x1: low, x2: high, y1: middle, y2: middle }),
    svg("circle", { class: "estimate", cx: x(row.change), cy: middle, r: 4 }));
}
