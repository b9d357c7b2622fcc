// What went wrong, with stack traces.
import { h, section } from "./dom.js";

const MOST = 100; // Shown at first, and at each press of the button.

export function errors(data, bars, later) {
  if (data.errors.length === 0) return null;
  const list = h("ul", { class: "errors" });
  const title = (number) => `Errors (${number})`;
  const more = h("button", { type: "button", click: () => add() }, "Show more");
  let known = 0;
  async function add() {
    const details = await later();
    const all = errorsOf(data, details);
    const next = all.slice(known, known + MOST);
    known += next.length;
    more.hidden = known >= all.length;
    element.querySelector("h2").textContent = title(all.length);
    list.append(...next.map((each) => h("li", {},
      each.visit !== null && h("button", { type: "button", click: () => bars.select(bars.index(each.visit)) }, each.stage || "(no name)"),
      trace(each, details))));
  }
  const element = section("errors", title(data.errors.length), list, more);
  return { element, drawn: add() };
}

// A server reads messages and stack traces only when they are asked for: then it tells of all errors once more.
export function errorsOf(data, details) {
  return details.errors ?? data.errors;
}

// One error: its type and message, and, where it was recorded, its stack trace below.
export function trace(error, details) {
  const head = [error.attempt !== null && `attempt ${error.attempt}: `, error.cancelled && "cancelled: ", h("b", { class: error.cancelled ? "other" : "bad" }, error.type ?? "an error"), error.message && `: ${error.message}`];
  const text = error.trace === null ? undefined : details.traces[error.trace];
  if (text === undefined) return h("p", {}, head, h("span", { class: "dim" }, " (no stack trace was recorded)"));
  return h("details", {}, h("summary", {}, head), h("pre", { tabindex: 0 }, text));
}
