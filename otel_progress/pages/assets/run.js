// The page of a run.
import { dataOf } from "./data.js";
import { h, section } from "./dom.js";
import { errors } from "./errors.js";
import { flow } from "./flow.js";
import { header } from "./header.js";
import { insights } from "./insights.js";
import { platforms } from "./platforms.js";
import { stages } from "./stages.js";
import { attributes, chosenVisit } from "./visit.js";
import { waterfall } from "./waterfall.js";

const data = await dataOf("data");
const place = document.getElementById("page");
let details = null;
const later = () => (details ??= dataOf("details").then((found) => found ?? { run: {}, visits: {}, traces: [] }));

const bars = waterfall(data.visits, { seconds: data.figures.seconds, chosen: (index) => visit.show(index) });
const visit = chosenVisit(data, bars, later);
let marked = null;

// Marks a stage everywhere, or no stage any more where it was marked.
function choose(stage) {
  marked = stage === marked ? null : stage;
  bars.mark(marked);
  for (const each of document.querySelectorAll("[data-stage]")) {
    each.classList.toggle("marked", each.dataset.stage === marked);
    if (each.hasAttribute("aria-pressed")) each.setAttribute("aria-pressed", each.dataset.stage === marked ? "true" : "false");
  }
}

window.waterfall = bars;
document.addEventListener("keydown", (event) => event.key === "Escape" && marked !== null && choose(marked));
place.replaceChildren(
  header(data, () => bars.recolour()),
  insights(data, choose),
  data.visits.length ? section("visits", "What went on when", bars.element) : h("p", { class: "dim" }, "No visit was recorded one by one."));
bars.draw();
requestAnimationFrame(() => setTimeout(() => {
  performance.mark("seen"); // What is further below waits for it.
  rest();
}));

async function rest() {
  const wrong = errors(data, bars, later);
  const parts = [data.visits.length && visit.element, stages(data, choose), flow(data, choose), platforms(data), wrong?.element];
  place.append(...parts.filter(Boolean), section("run", "The run", h("p", {}, "read from ", h("span", { class: "code" }, data.run.source), data.run.trace_id && [", trace ", h("span", { class: "code" }, data.run.trace_id)]), recorded()));
  await wrong?.drawn;
  document.documentElement.dataset.drawn = "yes";
}

function recorded() {
  const inside = h("div", {});
  const shown = h("details", { toggle: async () => {
    if (!shown.open || inside.childNodes.length) return;
    const found = Object.entries((await later()).run);
    inside.append(found.length ? attributes("Attributes of the run and of what made it", found) : h("p", { class: "dim" }, "None was recorded."));
  } }, h("summary", {}, "Attributes, as they were recorded"), inside);
  return shown;
}
