// The page of a comparison: for each workflow the verdicts, how the runs are spread, and a typical run of each side.
import { dataOf } from "./data.js";
import { h, section } from "./dom.js";
import { interval, reachOf, spread } from "./spread.js";
import { sides } from "./sides.js";
import { sortable } from "./table.js";
import { themeButton } from "./theme.js";
import { duration, NANO } from "./words.js";
import { waterfall } from "./waterfall.js";

const VERDICTS = { slower: ["▲", "bad"], faster: ["▼", "good"], same: ["=", "other"], "too few": ["?", "dim"] };
const data = await dataOf("data");
const place = document.getElementById("page");
const drawn = [];

place.replaceChildren(
  h("header", {},
    h("div", { class: "top" }, h("h1", {}, "Comparison"), themeButton(() => drawn.forEach((each) => each.recolour()))),
    data.asked && sides(data.asked, data.wrong),
    data.left_alone.map((said) => h("p", {}, said))),
  ...data.workflows.map(workflow),
  h("p", { class: "dim" }, data.meaning));
drawn.forEach((each) => each.draw());
window.waterfalls = drawn;
document.documentElement.dataset.drawn = "yes";

function workflow(found, number) {
  const title = (found.workflow || "(no name)") + (found.renamed_from === null ? "" : ` (was ${found.renamed_from || "(no name)"})`);
  return section(`workflow-${number}`, title,
    h("p", { class: "said" }, found.said),
    h("p", { class: "dim" }, `${found.sides}. `, withCode(found.assumption)),
    found.rows.length > 0 && rows(found),
    found.changes.length > 0 && h("ul", { class: "changes" }, found.changes.map((change) => h("li", { class: change.certain ? null : "dim" }, change.said))),
    runs(found, number));
}

// A sentence, with what stands in it between backticks as code.
function withCode(text) {
  return text.split("`").map((part, number) => number % 2 ? h("code", {}, part) : part);
}

function nameOf(row) {
  if (row.stage === null) return "the run";
  const stage = row.stage || "(no name)";
  return row.platform === null ? stage : `${stage}, ${row.platform}`;
}

function change(part) {
  const digits = Math.abs(part) < 10 ? 1 : 0;
  return `${part < 0 ? "-" : "+"}${Math.abs(part * 100).toFixed(digits)}%`;
}

function verdict(row) {
  const [sign, kind] = VERDICTS[row.verdict];
  const more = row.more === null ? "" : `, ${row.more > 1000 ? ">1000" : row.more} more`;
  return h("span", { class: kind }, `${sign} ${row.verdict}${more}`);
}

function bounds(row) {
  if (row.low === null && row.high === null) return "unknown";
  return `${row.low === null ? "?" : change(row.low)} to ${row.high === null ? "?" : change(row.high)}`;
}

function rows(found) {
  const reach = reachOf(found.rows, data.smallest);
  const at = new Map(found.rows.map((row, number) => [row, number]));
  return sortable({
    caption: "How long it took: a run, its stages for each visit, and their platforms",
    columns: [
      { title: "what", value: (row) => at.get(row), cell: (row) => h("span", { class: row.platform === null ? "stage" : "platform" }, nameOf(row), row.renamed_from === null ? null : ` (was ${row.renamed_from})`) },
      { title: "base", number: true, value: (row) => row.base_seconds, cell: (row) => duration(row.base_seconds), help: "the median of its runs" },
      { title: "new", number: true, value: (row) => row.new_seconds, cell: (row) => duration(row.new_seconds), help: "the median of its runs" },
      { title: "change", number: true, value: (row) => row.change, cell: (row) => h("span", {}, change(row.change), h("small", { class: "dim" }, bounds(row))), help: "the estimate, and the interval that the verdict rests on" },
      { title: "verdict", value: (row) => row.verdict, cell: verdict },
      { title: "runs", value: (row) => row.new_seconds - row.base_seconds, cell: spread, help: "each run a line, the median a longer one: base above, new below; sorted by what it has grown" },
      { title: "interval", value: (row) => row.change, cell: (row) => interval(row, data.smallest, reach, bounds(row)), help: "the band is what does not matter" },
    ],
    rows: found.rows, row: (row) => ({ class: row.stage === null ? "total" : null }),
  });
}

// The two runs under each other, over the same time.
function runs(found, number) {
  const seconds = Math.max(...found.typical.map((run) => (run === null ? 0 : Math.max(run.seconds, ...run.visits.map((visit) => visit.end / NANO)))));
  return found.typical.map((run, side) => {
    const name = ["base", "new"][side];
    if (run === null || run.visits.length === 0) return null;
    const bars = waterfall(run.visits, { name: `waterfall-${number}-${name}`, seconds });
    drawn.push(bars);
    return [h("h3", {}, `A typical run of ${name}: ${run.run.slice(0, 8)}, ${duration(run.seconds)}`), bars.element];
  });
}
