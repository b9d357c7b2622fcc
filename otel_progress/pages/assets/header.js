// What the run was: workflow, when, result, duration, revisions, platforms.
import { h } from "./dom.js";
import { themeButton } from "./theme.js";
import { count, duration, instant, kindOf, signOf } from "./words.js";

export function header(data, recoloured) {
  const { run, over } = data;
  const state = run.state === "done" ? run.result ?? "done" : run.state;
  const waits = run.state === "waiting" && Boolean(run.note); // The note is for what: it goes on behind the word.
  const facts = [
    ["result", h("span", { class: kindOf(state) }, `${signOf(state)} ${state}${waits ? ` ${run.note}` : ""}`)],
    ["duration", run.ended === null ? `${duration(run.seconds)} so far` : duration(run.seconds)],
    ["started", run.started === null ? null : h("time", { datetime: run.started, title: run.started }, instant(run.started))],
    ["visits", run.visits.toLocaleString("en")],
    ["revisions", run.revision],
    ["retries", run.retries || null],
    ["error", run.error === run.result ? null : run.error],
    ["platforms", run.platforms.length ? run.platforms.join(", ") : null],
    ["service", run.service],
    ["run", h("span", { class: "code" }, run.id)],
  ].filter(([, value]) => value !== null && value !== undefined);
  const notes = [waits ? "" : run.note, ...run.notes].filter(Boolean);
  return h("header", {},
    h("div", { class: "top" }, h("h1", {}, run.workflow || "(no name)"), themeButton(recoloured)),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    notes.map((note) => h("p", { class: "dim" }, note)),
    over.runs > 1 && h("p", { class: "dim" }, `The last of ${count(over.runs, "run")} that the report is of; sentences and the second table are about all of them.`));
}
