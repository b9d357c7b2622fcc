// What is compared, in a page that comes from the server: two fields, whose texts stand in the address.
import { h } from "./dom.js";

const WORDS = "conditions, joined by commas, such as service.version=1.4.*, workflow=pr_*, since=14d,until=7d, or the beginning of a run's id";

export function sides(asked, wrong) {
  const field = (name, label) => h("label", {}, `${label} `, h("input", { name, value: asked[name], size: 36, autocomplete: "off", "aria-describedby": "words" }));
  return [
    h("form", { class: "sides", submit: compare }, field("base", "Base"), field("new", "New"), h("button", {}, "Compare")),
    h("p", { class: "dim", id: "words" }, `Each names runs by ${WORDS}. `, h("a", { href: "/" }, "All runs")),
    wrong.map((each) => h("p", { class: "bad", role: "alert" }, each)),
  ];
}

function compare(event) {
  event.preventDefault();
  location.assign(`/compare?${new URLSearchParams(new FormData(event.target))}`);
}
