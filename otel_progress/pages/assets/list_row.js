// A run in the list.
import { h } from "./dom.js";
import { duration, kindOf, signOf } from "./words.js";

const GOING_ON = ["running", "waiting", "stalled"];
const WELL = ["success", "fallback", "done"]; // What broke off was not quick.
const MUCH = 1.5; // As many times as long as usual, or as short, is worth a mark.

function started(seconds) {
  return seconds === null ? "-" : new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

// How a time stands to what is usual: the text, and the class that gives its colour.
function againstUsual(seconds, usual, endedWell) {
  if (seconds === null || !usual) return ["-", "dim"];
  const times = seconds / usual;
  const text = `${times < 9.95 ? times.toFixed(2) : Math.round(times).toLocaleString("en")}×`;
  if (times >= MUCH) return [`▲ ${text}`, "bad"];
  return endedWell && times <= 1 / MUCH ? [`▼ ${text}`, "good"] : [text, "dim"];
}

// Its line in the table, and `show`, which brings that up to date without making what stays anew.
export function rowOf(run) {
  const link = h("a", { href: `/runs/${encodeURIComponent(run.id)}` }, run.workflow || "(no name)");
  const cells = Object.fromEntries(["state", "started", "seconds", "usual", "stages", "visits", "revision", "retries"].map((name) => [name, h("td", { "data-cell": name, class: !["state", "started"].includes(name) && "number" })]));
  const line = h("tr", { "data-run": run.id }, h("th", { scope: "row" }, link), Object.values(cells), h("td", { class: "code" }, run.id.slice(0, 8)));

  function put(name, text, { kind, title } = {}) {
    const cell = cells[name];
    if (cell.textContent !== text || cell.dataset.kind !== (kind ?? "")) {
      cell.replaceChildren(kind ? h("span", { class: kind }, text) : text);
      cell.dataset.kind = kind ?? "";
      cell.toggleAttribute("data-empty", text === "-");
    }
    if (title) cell.title = title;
    else cell.removeAttribute("title");
  }

  function show(each, now) {
    const isGoingOn = GOING_ON.includes(each.state);
    const state = each.state === "done" ? each.result ?? "done" : each.state;
    const seconds = each.seconds ?? (isGoingOn && each.started !== null ? Math.max(0, now - each.started) : null);
    const [usual, kind] = againstUsual(seconds, each.usual, WELL.includes(state));
    put("state", `${signOf(state)} ${state}`, { kind: kindOf(state), title: each.note });
    put("started", started(each.started));
    put("seconds", seconds === null ? "-" : isGoingOn && seconds < 60 ? `${Math.floor(seconds)} s` : duration(seconds));
    put("usual", usual, { kind, title: each.usual === null ? "" : `usual: ${duration(each.usual)}` });
    put("stages", each.stages.toLocaleString("en"));
    put("visits", each.visits.toLocaleString("en"));
    put("revision", each.revision === null ? "-" : String(each.revision));
    put("retries", each.retries === 0 ? "-" : each.retries.toLocaleString("en"));
  }

  return { line, show };
}
