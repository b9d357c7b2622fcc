// The list of runs: what is asked for stands in the address.
import { dataOf } from "./data.js";
import { h } from "./dom.js";
import { asked, follow, tellIn } from "./live.js";
import { rowOf } from "./list_row.js";
import { themeButton } from "./theme.js";
import { trends } from "./trends.js";
import { count, signOf } from "./words.js";

const COLUMNS = [
  ["workflow", "workflow", ""],
  ["state", "state", "or its result, where it is done"],
  ["started", "started", ""],
  ["duration", "seconds", "so far, where it goes on", true],
  ["against usual", null, "against the median of the last hundred runs of the workflow before it that ended with success or fallback", true],
  ["stages", "stages", "", true],
  ["visits", "visits", "", true],
  ["revisions", "revision", "the highest revision count", true],
  ["retries", "retries", "attempts after the first", true],
  ["run", null, "its id"],
];
const TIMES = "a time such as 2026-11-26 or 2026-11-26T14:30, or how long ago: 30m, 12h, 7d";
const TREND_EVERY = 5000; // Milliseconds.

let data = await dataOf("data");
let since = performance.now(); // When it came.
let trended = { of: "", at: 0 };
let trendsLater = 0;

// --- what is asked for --------------------------------------------------------------------------------------------------

// The address of the list with some parameters changed; null and "" leave one out.
function addressWith(changes) {
  const query = new URLSearchParams(location.search);
  query.delete("token");
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const each of Array.isArray(value) ? value : [value ?? ""]) if (each !== "" || (name === "trend" && value !== null)) query.append(name, each);
  }
  const text = query.toString();
  return text ? `/?${text}` : "/";
}

function go(address) {
  history.pushState(null, "", address);
  load();
}

function load() {
  fetched().catch(() => tell("lost")); // The server has ended.
}

let searched = location.search;
let latest = 0; // Of answers that come out of order the last question's counts.

async function fetched() {
  const mine = ++latest;
  const search = (searched = location.search);
  const found = await asked(`/data/list${search}`);
  if (mine !== latest || search !== location.search) return;
  data = found;
  since = performance.now();
  show();
}

function goOn(event) {
  if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // A new tab.
  event.preventDefault();
  go(event.currentTarget.getAttribute("href"));
}

// --- the parts ----------------------------------------------------------------------------------------------------------

const live = h("span", { class: "live", role: "status" });
const tell = tellIn(live);
const workflow = h("input", { id: "workflow", name: "workflow", list: "workflows", autocomplete: "off", spellcheck: "false", placeholder: "all, or such as pr_*", title: "* and ? as in file names" });
const names = h("datalist", { id: "workflows" });
const times = ["since", "until"].map((name) => h("input", { id: name, name, autocomplete: "off", spellcheck: "false", size: 12, placeholder: name === "since" ? "7d" : "2026-11-26", title: TIMES }));
const states = h("div", { class: "states", role: "group", "aria-label": "states and results" }, data.states.map((state) =>
  h("button", { type: "button", "data-state": state, click: () => toggle(state) }, `${signOf(state)} ${state}`)));
const form = h("form", { role: "search", "aria-label": "which runs", submit: (event) => {
  event.preventDefault();
  go(addressWith({ workflow: workflow.value.trim(), since: times[0].value.trim(), until: times[1].value.trim(), page: null }));
} },
  h("div", {}, h("label", { for: "workflow" }, "Workflow "), workflow, names),
  h("div", {}, h("label", { for: "since" }, "Since "), times[0]),
  h("div", {}, h("label", { for: "until" }, "Until "), times[1]),
  h("button", { type: "submit" }, "Show"),
  h("a", { href: "/", click: goOn }, "All runs"),
  h("a", { href: "#trends" }, "Trends"));
const problems = h("div", { class: "problems" });
const total = h("p", { role: "status", class: "dim" });
const heads = h("tr", {});
const body = h("tbody", {});
const table = h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "runs" }, h("table", { class: "runs" }, h("thead", {}, heads), body));
const pager = h("nav", { "aria-label": "pages of the list", class: "pager" });
const shownTrends = trends((name) => go(addressWith({ trend: name })));

function toggle(state) {
  const on = data.asked.state;
  go(addressWith({ state: on.includes(state) ? on.filter((each) => each !== state) : [...on, state], page: null }));
}

function headOf([title, order, help, isNumber]) {
  if (order === null) return h("th", { scope: "col", class: isNumber && "number", title: help || null }, title);
  const [by, isDown] = [data.asked.sort.replace(/^-/, ""), data.asked.sort.startsWith("-")];
  const next = by === order ? `${isDown ? "" : "-"}${order}` : order === "workflow" || order === "state" ? order : `-${order}`;
  return h("th", { scope: "col", class: isNumber && "number", title: help || null, "aria-sort": by !== order ? "none" : isDown ? "descending" : "ascending" },
    h("button", { type: "button", "data-order": order, click: () => go(addressWith({ sort: next === "-started" ? null : next, page: null })) }, title));
}

const rows = new Map();

function showRows() {
  const now = data.now + (performance.now() - since) / 1000;
  const wanted = data.runs.map((run) => {
    if (!rows.has(run.id)) rows.set(run.id, rowOf(run));
    const row = rows.get(run.id);
    row.show(run, now);
    return row.line;
  });
  for (const [id, row] of rows) {
    if (!wanted.includes(row.line)) {
      row.line.remove();
      rows.delete(id);
    }
  }
  // What stands where it belongs is left there, so that it keeps the focus.
  wanted.forEach((line, place) => {
    if (body.children[place] !== line) body.insertBefore(line, body.children[place] ?? null);
  });
}

function showHeads() {
  const focused = document.activeElement?.dataset?.order;
  heads.replaceChildren(...COLUMNS.map(headOf));
  if (focused) heads.querySelector(`[data-order="${focused}"]`)?.focus();
}

function pageLink(text, page) {
  const isThere = page >= 1 && page <= data.pages;
  return isThere ? h("a", { href: addressWith({ page: page === 1 ? null : page }), click: goOn }, text) : h("span", { class: "dim" }, text);
}

function show() {
  const { asked: wanted } = data;
  for (const [field, value] of [[workflow, wanted.workflow], [times[0], wanted.since], [times[1], wanted.until]]) {
    if (document.activeElement !== field) field.value = value;
  }
  names.replaceChildren(...data.workflows.map((each) => h("option", { value: each.name }, count(each.runs, "run"))));
  for (const button of states.children) button.setAttribute("aria-pressed", wanted.state.includes(button.dataset.state));
  problems.replaceChildren(
    ...data.wrong.map((text) => h("p", { class: "bad", role: "alert" }, text)),
    ...(data.problems.length ? [h("details", {}, h("summary", {}, count(data.problems.length + data.problems_left_out, "thing cannot", "things cannot"), " be read"), data.problems.map((text) => h("p", { class: "code" }, text)))] : []));
  const last = data.first + data.runs.length - 1;
  total.textContent = data.total ? `${data.first.toLocaleString("en")} to ${last.toLocaleString("en")} of ${count(data.total, "run")}${data.total < data.all ? `, of ${data.all.toLocaleString("en")} in all` : ""}`
    : data.all ? `None of ${count(data.all, "run")} is as asked for.`
    : "No run is recorded here yet: `otel-progress run app.py` records one, and it will be shown here.";
  table.hidden = data.runs.length === 0;
  showHeads();
  showRows();
  pager.hidden = data.pages === 1;
  pager.replaceChildren(pageLink("◀ newer", wanted.page - 1), h("span", {}, `page ${wanted.page.toLocaleString("en")} of ${data.pages.toLocaleString("en")}`), pageLink("older ▶", wanted.page + 1));
  shownTrends.offer(data.workflows, data.trend);
  showTrends();
}

// The trends are asked for where they are of something else, and else now and then.
function showTrends() {
  const search = new URLSearchParams(location.search);
  const of = JSON.stringify([data.trend, search.get("since"), search.get("until")]);
  clearTimeout(trendsLater);
  if (data.trend === null) return;
  const rest = of === trended.of ? trended.at + TREND_EVERY - performance.now() : 0;
  if (rest > 0) {
    trendsLater = setTimeout(showTrends, rest);
    return;
  }
  trended = { of, at: performance.now() };
  shownTrends.show(data.trend, location.search).catch(() => {}); // Of one that is broken off, or of a server that has ended.
}

document.getElementById("page").replaceChildren(
  h("header", {}, h("div", { class: "top" }, h("h1", {}, "Runs"), h("div", { class: "tools" }, live, " ", themeButton(() => {}))), h("p", { class: "dim" }, data.source, " · ", h("a", { href: "/compare" }, "Compare two sets of runs"))),
  form, states, problems, total, table, pager, shownTrends.part);
show();
addEventListener("popstate", () => location.search !== searched && load());
setInterval(() => document.hidden || showRows(), 1000);
follow("/events/list", fetched, tell);
document.documentElement.dataset.drawn = "yes";
