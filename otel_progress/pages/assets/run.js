// The page of a run.
import { atRest, carried } from "./carry.js";
import { dataOf } from "./data.js";
import { drawnAnew, h, section } from "./dom.js";
import { errors } from "./errors.js";
import { flow } from "./flow.js";
import { header } from "./header.js";
import { insights } from "./insights.js";
import { asked, follow, tellIn } from "./live.js";
import { platforms } from "./platforms.js";
import { stages } from "./stages.js";
import { attributes, chosenVisit } from "./visit.js";
import { waterfall } from "./waterfall.js";

const GOING_ON = ["running", "waiting", "stalled"];
const EVERY = 2000; // Milliseconds between two looks at a run that goes on and tells of nothing: its times grow.
const place = document.getElementById("page");
let marked = null;
let current = null; // What is drawn.
let bars = null; // Its waterfall.
let data = await dataOf("data");

// All parts of the page; those further below come when `rest` is called.
function drawing(shown) {
  let details = null;
  const later = () => (details ??= (shown.live ? asked(shown.live.details) : dataOf("details")).then((found) => found ?? { run: {}, visits: {}, traces: [] }));
  const fall = waterfall(shown.visits, { seconds: shown.figures.seconds, chosen: (index) => visit.show(index) });
  const visit = chosenVisit(shown, fall, later);
  const element = h("div", {},
    header(shown, () => bars.recolour()),
    insights(shown, choose),
    shown.visits.length ? section("visits", "What went on when", fall.element) : h("p", { class: "dim" }, shown.run.visits ? "No visit was recorded one by one." : "No stage was visited."));
  function rest() {
    const wrong = errors(shown, fall, later);
    const parts = [shown.visits.length && visit.element, stages(shown, choose), flow(shown, choose), platforms(shown), wrong?.element];
    element.append(...parts.filter(Boolean), section("run", "The run", h("p", {}, "read from ", h("span", { class: "code" }, shown.run.source), shown.run.trace_id && [", trace ", h("span", { class: "code" }, shown.run.trace_id)]), recorded(later)));
    return wrong?.drawn;
  }
  return { element, fall, rest };
}

// Marks a stage everywhere, or no stage any more where it was marked.
function choose(stage) {
  mark(stage === marked ? null : stage);
}

function mark(stage) {
  marked = stage;
  bars.mark(marked);
  for (const each of place.querySelectorAll("[data-stage]")) {
    each.classList.toggle("marked", each.dataset.stage === marked);
    if (each.hasAttribute("aria-pressed")) each.setAttribute("aria-pressed", each.dataset.stage === marked ? "true" : "false");
  }
}

function recorded(later) {
  const inside = h("div", {});
  const shown = h("details", { toggle: async () => {
    if (!shown.open || inside.childNodes.length) return;
    const found = Object.entries((await later()).run);
    inside.append(found.length ? attributes("Attributes of the run and of what made it", found) : h("p", { class: "dim" }, "None was recorded."));
  } }, h("summary", {}, "Attributes, as they were recorded"), inside);
  return shown;
}

// Puts what is drawn into the page.
function put(drawn) {
  current = drawn;
  bars = drawn.fall;
  window.waterfall = bars;
  place.replaceChildren(...(top ? [top] : []), drawn.element);
  bars.draw();
}

// --- a page that a server gives, of a run that goes on ------------------------------------------------------------------

const told = data.live ? h("span", { role: "status", class: "live" }) : null;
const top = told && h("p", { class: "tools" }, h("a", { href: "/" }, "All runs"), " ", told);

async function changed() {
  const fresh = await asked(data.live.data);
  await atRest();
  const before = { ...bars.kept(), y: scrollY };
  drawnAnew();
  const drawn = drawing(fresh);
  drawn.rest();
  drawn.fall.keep(before); // Now, for what shows the chosen visit; and in its place, for where it is scrolled to.
  const end = carried(current.element, drawn.element);
  data = fresh;
  put(drawn);
  bars.keep(before);
  mark(marked);
  end();
  scrollTo({ top: before.y, behavior: "instant" });
  return GOING_ON.includes(fresh.run.state);
}

document.addEventListener("keydown", (event) => event.key === "Escape" && marked !== null && choose(marked));
put(drawing(data));
requestAnimationFrame(() => setTimeout(async () => {
  performance.mark("seen"); // What is further below waits for it.
  await current.rest();
  document.documentElement.dataset.drawn = "yes";
  if (data.live && GOING_ON.includes(data.run.state)) follow(data.live.events, changed, tellIn(told), EVERY);
}));
