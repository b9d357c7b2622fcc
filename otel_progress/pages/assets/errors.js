// What went wrong, with stack traces.
import { h, section } from "./dom.js";

const MOST = 100; // Shown at first, and at each press of the button.

export function errors(data, bars, later) {
  if (data.errors.length === 0) return null;
  const list = h("ul", { class: "errors" });
  const more = h("button", { type: "button", click: () => add() }, "Show more");
  let known = 0;
  async function add() {
    const next = data.errors.slice(known, known + MOST);
    known += next.length;
    more.hidden = known >= data.errors.length;
    const details = await later();
    list.append(...next.map((each) => h("li", {},
      each.visit !== null && h("button", { type: "button", click: () => bars.select(bars.index(each.visit)) }, each.stage || "(no name)"),
      trace(each, details))));
  }
  const drawn = add();
  return { element: section("errors", `Errors (${data.errors.length})`, list, more), drawn };
}

// One error: its type and message, and, where it was recorded, its stack trace below.
export function trace(error, details) {
  const head = [error.attempt !== null && `attempt ${error.attempt}: `, h("b", { class: "bad" }, error.type ?? "an error"), error.message && `: ${error.message}`];
  const text = error.trace === null ? undefined : details.traces[error.trace];
  if (text === undefined) return h("p", {}, head, h("span", { class: "dim" }, " (no stack trace was recorded)"));
  return h("details", {}, h("summary", {}, head), h("pre", { tabindex: 0 }, text));
}
