// What is known of the visit that is chosen, its attributes as they were recorded among it.
import { h, section } from "./dom.js";
import { errorsOf, trace } from "./errors.js";
import { duration, instant, kindOf, NANO, signOf } from "./words.js";

// `bars` is the waterfall; `later` gives, when it is asked for, what is not in the document.
export function chosenVisit(data, bars, later) {
  const place = h("div", {}, h("p", { class: "dim" }, "Choose a visit to see all that is known of it."));
  const zero = Date.parse(data.run.zero);

  function show(index) {
    const visit = data.visits[index];
    const raw = h("div", {});
    const from = (visit.links ?? []).filter((link) => bars.index(link.visit) >= 0);
    const outside = (visit.links ?? []).filter((link) => bars.index(link.visit) < 0);
    const to = bars.followers(visit.id);
    element.classList.remove("nothing");
    place.replaceChildren(
      h("h3", {}, visit.stage || "(no name)", visit.number && ` ↻${visit.number}`),
      facts(visit, zero),
      from.length > 0 && list("It followed", from.map((link) => [link.kind, data.visits[bars.index(link.visit)]])),
      outside.length > 0 && h("p", {}, "It followed, outside of this page: ", outside.map((link) => h("span", { class: "code" }, `${link.kind} ${link.span ?? link.visit} `))),
      to.length > 0 && list("It was followed by", to.map((each) => [each.kind, each.visit])),
      visit.failed && h("div", {}, h("h4", {}, "Failed attempts"), h("ol", {}, visit.failed.map((each) =>
        h("li", {}, `attempt ${each.number}, ${duration((each.end - each.at) / NANO)}: ${each.error ?? "failed"}${each.message ? `: ${each.message}` : ""}`)))),
      visit.waits && h("div", {}, h("h4", {}, "Waits"), h("ul", {}, visit.waits.map((each) =>
        h("li", {}, `${each.reason.replace(/[. ]+$/, "") || "(no reason)"}: ${duration((each.end - each.at) / NANO)}, from ${duration(each.at / NANO)} on`)))),
      raw);
    for (const node of [...place.childNodes]) if (node.nodeType === Node.TEXT_NODE) node.remove();
    later().then((details) => {
      const errors = errorsOf(data, details).filter((each) => each.visit === visit.id);
      if (errors.length) raw.append(h("h4", {}, "Errors"), ...errors.map((each) => trace(each, details)));
      const found = Object.entries(details.visits[visit.id] ?? {});
      if (found.length) raw.append(attributes("Attributes, as they were recorded", found));
    });
  }

  function list(title, found) {
    const most = 20;
    return h("div", {}, h("h4", {}, title), h("ul", { class: "links" }, found.slice(0, most).map(([kind, visit]) =>
      h("li", {}, h("button", { type: "button", click: () => bars.select(bars.index(visit.id)) }, `${visit.stage || "(no name)"}${visit.number ? ` ↻${visit.number}` : ""}`), kind === "repeats" && " (the same stage once more)")),
    found.length > most && h("li", { class: "dim" }, `and ${found.length - most} more`)));
  }

  const element = section("visit", "The chosen visit", place);
  element.classList.add("nothing"); // Nobody wants that on paper.
  return { element, show };
}

function facts(visit, zero) {
  const state = visit.state ?? visit.result;
  const items = visit.items_total || visit.items_done || visit.items_failed;
  const known = [
    ["result", state && h("span", { class: kindOf(state) }, `${signOf(state)} ${state}`)],
    ["why", visit.note],
    ["took", `${duration((visit.end - visit.at) / NANO)}${visit.open ? " so far" : ""}`],
    ["started", `${duration(visit.at / NANO)} after the start, ${instant(new Date(zero + visit.at / 1e6).toISOString())}`],
    ["critical path", visit.critical && `${duration(visit.critical.reduce((sum, [at, end]) => sum + end - at, 0) / NANO)}${visit.step ? ", inferred from times" : ""}`],
    ["action", visit.action],
    ["revision", visit.revision],
    ["item", visit.item],
    ["attempts", visit.attempts],
    ["waited", visit.wait && duration(visit.wait)],
    ["budget", visit.budget && duration(visit.budget)],
    ["items", items && `${visit.items_done ?? 0} done, ${visit.items_failed ?? 0} failed${visit.items_total ? `, of ${visit.items_total}` : ""}`],
    ["platforms", visit.platforms && visit.platforms.join(", ")],
    ["versions", visit.versions && visit.versions.map(([id, action]) => (action ? `${id} (${action})` : id)).join(", ")],
    ["error", visit.error !== visit.result && visit.error],
    ["function", visit.function && h("span", { class: "code" }, visit.function)],
    ["process", visit.process],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false && value !== 0);
  return h("dl", { class: "facts" }, known.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

export function attributes(title, found) {
  return h("details", { open: true }, h("summary", {}, title), h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": title },
    h("table", { class: "raw" }, h("tbody", {}, found.map(([name, value]) =>
      h("tr", {}, h("th", { scope: "row", class: "code" }, name), h("td", { class: "code" }, typeof value === "string" ? value : JSON.stringify(value))))))));
}
