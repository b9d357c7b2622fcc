// What is worth saying, and the stages that it speaks of.
import { h, section } from "./dom.js";
import { count } from "./words.js";

export function insights(data, choose) {
  const said = data.over.insights.map((each) => h("li", {},
    `${each.text}: ${each.advice}. `,
    h("span", { class: "dim" }, `${count(each.runs, "run")}, ${each.confidence} confidence `),
    each.stage !== null && h("button", { type: "button", class: "mark", "data-stage": each.stage, "aria-pressed": "false", click: () => choose(each.stage) }, `Show ${each.stage || "(no name)"}`)));
  return section("insights", "What is worth saying", h("ol", {}, said));
}
