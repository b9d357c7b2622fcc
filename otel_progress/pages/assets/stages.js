// The figures of the stages, as the report has them: of this run, and of all runs where there are several.
import { h, section } from "./dom.js";
import { sortable } from "./table.js";
import { duration, percent, time } from "./words.js";

const SURE = 0.05; // As in the terminal: a trend that chance makes as often is none.

function sum(waiting) {
  return Object.values(waiting).reduce((one, other) => one + other, 0);
}

function ended(results) {
  return Object.entries(results).map(([result, number]) => `${number} ${result}`).join(", ") || "-";
}

function pass(stage) {
  return stage.first_visits ? stage.first_pass / stage.first_visits : null;
}

// Of a run on average, where the figures are of several, as in the terminal.
function ofRun(seconds, row) {
  return seconds === null ? null : seconds / Math.max(1, row.runs ?? 1);
}

const STAGE = (choose) => ({ title: "stage", value: (row) => row.stage, cell: (row) => h("button", { type: "button", class: "name", click: () => choose(row.stage) }, row.stage || "(no name)") });
const COMMON = [
  { title: "waits", number: true, rare: true, value: (row) => ofRun(sum(row.waiting), row), cell: (row) => time(ofRun(sum(row.waiting), row)), help: "between attempts, and for what it said that it waits for" },
  { title: "rework", number: true, rare: true, value: (row) => ofRun(row.rework, row), cell: (row) => time(ofRun(row.rework, row)), help: "in repeats at a higher revision" },
  { title: "retries", number: true, rare: true, value: (row) => row.retries, cell: (row) => row.retries || "-", help: "attempts after the first" },
  { title: "pass", number: true, value: pass, cell: (row) => percent(pass(row)), help: "first visits that needed neither retry nor rework" },
  { title: "dead ends", number: true, rare: true, value: (row) => row.dead_ends, cell: (row) => row.dead_ends || "-", help: "actions that no edge takes" },
  { title: "budget kept", number: true, rare: true, value: (row) => (row.budget_visits ? row.budget_kept / row.budget_visits : null), cell: (row) => (row.budget_visits ? `${row.budget_kept} of ${row.budget_visits}` : "-"), help: "visits that took no longer than their budget" },
  { title: "results", value: (row) => ended(row.results), help: "visits by how they ended" },
];

export function stages(data, choose) {
  if (data.figures.stages.length + data.over.stages.length === 0) return null;
  const wall = data.figures.seconds;
  const line = (row) => ({ "data-stage": row.stage });
  const one = sortable({
    caption: "The stages of this run",
    columns: [
      STAGE(choose),
      { title: "visits", number: true, value: (row) => row.visits },
      { title: "time", number: true, value: (row) => row.seconds, cell: (row) => duration(row.seconds), help: "in its visits" },
      { title: "own", number: true, value: (row) => row.own, cell: (row) => time(row.own), help: "as much of that as no stage inside was open" },
      { title: "path", number: true, value: (row) => row.critical, cell: (row) => (row.critical === null || !wall ? "-" : percent(row.critical / wall)), help: "its share of the critical path" },
      ...COMMON,
    ],
    rows: data.figures.stages, by: 4, descending: true, row: line,
  });
  const of = data.over;
  const all = of.runs > 1 && sortable({
    caption: `The stages over ${of.runs} runs, of a run on average`,
    columns: [
      STAGE(choose),
      { title: "runs", number: true, value: (row) => row.runs },
      { title: "visits", number: true, value: (row) => row.visits },
      ...["p50", "p90", "p99"].map((name) => ({ title: name, number: true, value: (row) => row.seconds[name], cell: (row) => duration(row.seconds[name]) })),
      { title: "own", number: true, value: (row) => ofRun(row.own, row), cell: (row) => time(ofRun(row.own, row)), help: "as much of its time as no stage inside was open" },
      { title: "path", number: true, value: (row) => row.critical_share, cell: (row) => percent(row.critical_share), help: "its share of the critical paths" },
      { title: "often", number: true, value: (row) => row.often_critical, cell: (row) => percent(row.often_critical), help: "in how many runs it is on the critical path at all" },
      { title: "trend", number: true, rare: true, value: (row) => (row.seconds.chance > SURE ? 0 : row.seconds.change), cell: (row) => trend(row.seconds), help: "what it has grown by, where that is more than chance" },
      ...COMMON,
    ],
    rows: of.stages, by: 7, descending: true, row: line,
  });
  return section("stages", "Stages", one, all);
}

function trend(seconds) {
  return seconds.chance > SURE ? "-" : `${seconds.change >= 0 ? "+" : "-"}${duration(Math.abs(seconds.change))}`;
}
