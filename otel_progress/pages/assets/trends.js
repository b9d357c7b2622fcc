// How the runs of a workflow, and its stages, went over time.
import { chartWith } from "./chart.js";
import { h, section } from "./dom.js";
import { asked } from "./live.js";
import { count, duration, percent } from "./words.js";

const HEADS = [
  ["duration", "of a run, or in the visits of a stage; of several runs the median, and around it from the shortest to the longest"],
  ["first-pass yield", "first visits that needed neither retry nor rework"],
  ["retries", "attempts after the first, of a run"],
];

function when(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

function titleOf(point, value) {
  return point.runs === 1 ? `${when(point.started)}: ${value}` : `${when(point.started)} to ${when(point.until)}, ${count(point.runs, "run")}: ${value}`;
}

function measured(name, points, key, words, { top = 0, band = false } = {}) {
  const told = points.map((point) => ({
    value: point[key],
    title: titleOf(point, words(point[key])),
    ...(band && { low: point.shortest, high: point.longest }),
  }));
  const known = points.map((point) => point[key]).filter((value) => value !== null);
  if (known.length === 0) return "-";
  const last = words(known.at(-1));
  const label = `${key === "yield" ? "first-pass yield" : key === "seconds" ? "duration" : key} of ${name}: from ${words(Math.min(...known))} to ${words(Math.max(...known))}, ${last} at last`;
  return chartWith(last, told, { top, label, kind: key });
}

function tenths(number) {
  return number === 0 ? "0" : number.toFixed(1);
}

function line(name, points, isWhole) {
  return h("tr", { class: isWhole && "whole" },
    h("th", { scope: "row" }, name, h("div", { class: "dim" }, count(points.reduce((sum, point) => sum + point.runs, 0), "run"))),
    h("td", { "data-of": HEADS[0][0] }, measured(name, points, "seconds", duration, { band: true })),
    h("td", { "data-of": HEADS[1][0] }, measured(name, points, "yield", percent, { top: 1 })),
    h("td", { "data-of": HEADS[2][0] }, measured(name, points, "retries", tenths, { top: 1 })));
}

// The part of the page that shows the trends of one workflow; `choose` is called with the name of another.
export function trends(choose) {
  const select = h("select", { id: "trend", change: () => choose(select.value) });
  const note = h("p", { class: "dim", role: "status" });
  const body = h("tbody", {});
  const caption = "Trends, the oldest run on the left";
  const table = h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "stage"), HEADS.map(([title, help]) => h("th", { scope: "col", title: help }, title)))),
      body));
  const part = section("trends", "Trends", h("p", { class: "tools" }, h("label", { for: "trend" }, "Workflow "), select), note, table);
  let current = null; // Breaks off what is asked for a workflow that is not wanted any more.
  let drawn = "";

  async function show(workflow, search) {
    current?.abort();
    const mine = (current = new AbortController());
    const query = new URLSearchParams(search);
    query.set("trend", workflow);
    let data;
    do {
      data = await asked(`/data/trends?${query}`, { signal: mine.signal });
      draw(data);
    } while (data.read < data.of && !document.hidden);
  }

  function draw(data) {
    const text = JSON.stringify(data);
    if (text === drawn) return;
    drawn = text;
    const rest = data.left_out ? ` The ${data.left_out} stages that take least are not shown.` : "";
    note.textContent = data.of === 0 ? "No run of it that was not cancelled has ended yet."
      : data.read < data.of ? `${data.read.toLocaleString("en")} of ${count(data.of, "run")} read so far …`
      : `The last ${count(data.of, "run")} that ended, without what was cancelled.${rest}`;
    table.hidden = data.of === 0;
    body.replaceChildren(line("whole run", data.whole, true), ...data.stages.map((stage) => line(stage.name || "(no name)", stage.points, false)));
    part.dataset.read = data.read;
  }

  // The workflows that can be chosen, and which one is.
  function offer(workflows, chosen) {
    const names = workflows.map((each) => each.name);
    if (chosen !== null && !names.includes(chosen)) names.push(chosen);
    if (names.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
      select.replaceChildren(...names.map((name) => h("option", { value: name }, name || "(no name)")));
    }
    if (chosen !== null) select.value = chosen;
    part.hidden = chosen === null;
  }

  return { part, offer, show };
}
