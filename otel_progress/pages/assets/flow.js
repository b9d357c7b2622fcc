// The path that the flow took, as a graph; and the same as a table.
import { h, section, svg } from "./dom.js";
import { sortable } from "./table.js";
import { count } from "./words.js";

const LONGEST = 26; // Characters of a name in a box.

export function flow(data, choose) {
  const { nodes, edges, linked, drawn, width, height } = data.flow;
  if (nodes.length === 0) return null;
  const table = h("details", {}, h("summary", {}, "What led to what, as a table"), tableOf(data.flow));
  if (!drawn) return section("flow", "The path that the flow took", h("p", { class: "dim" }, `${count(nodes.length, "stage")} are too many to draw.`), table);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": `The path as a graph: ${count(edges.length, "edge")}, which the table below tells` },
    svg("defs", {}, ["usual", "dead"].map((kind) => svg("marker", { id: `arrow-${kind}`, class: `arrow of-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, svg("path", { d: "M0,0 L8,4 L0,8 z" })))),
    edges.map(edgeOf), nodes.map((node) => nodeOf(node, choose)));
  return section("flow", "The path that the flow took",
    !linked && h("p", { class: "dim" }, "What followed what was not recorded: only what lies in what is drawn."),
    h("p", { class: "dim" }, "Numbers say how often; → action; dashed: back again; dotted: inside of it; ⊘: a dead end, an action that no edge takes."),
    h("div", { class: "wide graph", tabindex: 0, role: "region", "aria-label": "The path as a graph" }, picture), table);
}

function edgeOf(edge) {
  const kind = edge.kind === "dead end" ? "dead" : edge.back ? "back" : edge.kind;
  const [x, y] = labelAt(edge);
  const actions = Object.keys(edge.actions);
  const text = `${edge.count}×${actions.length ? ` ${actions.length > 2 ? `${actions.length} actions` : actions.join(", ")}` : ""}`;
  return svg("g", { class: `edge ${kind}`, "data-from": edge.from, "data-to": edge.to, "data-count": edge.count },
    svg("path", { d: curve(edge.points), "marker-end": `url(#arrow-${kind === "dead" ? "dead" : "usual"})` }),
    svg("text", { x, y, class: edge.beside && !edge.back ? "left" : null }, short(text)), svg("title", {}, `${name(edge.from)} → ${name(edge.to)}, ${edge.count} times`));
}

function labelAt(edge) {
  const middle = edge.points[Math.floor((edge.points.length - 1) / 2)];
  const next = edge.points[Math.floor((edge.points.length - 1) / 2) + 1];
  if (edge.from === edge.to) return [middle[0] + 6, middle[1] + 13];
  return [(middle[0] + next[0]) / 2 + (edge.beside && !edge.back ? -5 : 5), (middle[1] + next[1]) / 2 + 4];
}

// Straight up and down at every point, and a bow between.
function curve(points) {
  let path = `M${points[0][0]},${points[0][1]}`;
  for (let each = 1; each < points.length; each += 1) {
    const [x1, y1] = points[each - 1];
    const [x2, y2] = points[each];
    const middle = (y1 + y2) / 2;
    path += y1 === y2 || x1 === x2 ? ` L${x2},${y2}` : ` C${x1},${middle} ${x2},${middle} ${x2},${y2}`;
  }
  return path;
}

function nodeOf(node, choose) {
  const box = { x: node.x - node.w / 2, y: node.y - node.h / 2, width: node.w, height: node.h };
  const isStage = node.kind === "stage";
  const title = isStage ? `${node.stage || "(no name)"}, ${count(node.visits, "visit")}` : name(node.id);
  return svg("g", { class: `node ${node.kind.replace(" ", "-")}`, "data-node": node.id, "data-stage": isStage && node.stage, click: isStage && (() => choose(node.stage)) },
    svg("rect", { ...box, rx: isStage ? 6 : box.height / 2 }),
    svg("text", { x: node.x, y: node.y + (isStage ? -2 : 5) }, short(isStage ? node.stage || "(no name)" : node.kind === "dead end" ? "⊘ dead end" : node.kind)),
    isStage && svg("text", { x: node.x, y: node.y + 13, class: "visits" }, count(node.visits, "visit")),
    svg("title", {}, title));
}

function tableOf({ edges }) {
  return sortable({
    caption: "What led to what, and how often",
    columns: [
      { title: "from", value: (edge) => name(edge.from) },
      { title: "to", value: (edge) => name(edge.to) },
      { title: "times", number: true, value: (edge) => edge.count },
      { title: "actions", value: (edge) => Object.entries(edge.actions).map(([action, times]) => `${action} ×${times}`).join(", ") },
      { title: "how", value: (edge) => (edge.from === edge.to ? "again" : edge.back ? "back" : edge.kind) },
    ],
    rows: edges, by: 2, descending: true,
  });
}

function name(node) {
  if (!node.includes(":")) return node;
  return node.startsWith("dead end:") ? "dead end" : node.slice(node.indexOf(":") + 1) || "(no name)";
}

function short(text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}
