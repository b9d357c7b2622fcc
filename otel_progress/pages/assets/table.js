// A table that is sorted by a click on the head of a column.
import { h } from "./dom.js";

// Columns: {title, value: row => number or text or null, cell: row => what is shown, number: whether it stands on the
// right, help: what it means, rare: whether it is left out where all of it is 0 or nothing}. What has no value is always last. `row` may add to the attributes of a row.
export function sortable({ caption, columns, rows, by = 0, descending = false, row = () => ({}) }) {
  const told = columns.filter((column, place) => place === 0 || !column.rare || rows.some((each) => column.value(each)));
  by = Math.max(0, told.indexOf(columns[by]));
  columns = told;
  const body = h("tbody", {});
  const heads = columns.map((column, place) =>
    h("th", { scope: "col", class: column.number && "number", title: column.help },
      h("button", { type: "button", click: () => sort(place, place === by ? !descending : column.number === true) }, column.title)));
  const made = rows.map((each) => ({
    each,
    line: h("tr", row(each), columns.map((column, place) => {
      const shownAs = column.cell ? column.cell(each) : column.value(each);
      return h(place === 0 ? "th" : "td", { class: column.number && "number", scope: place === 0 && "row" }, shownAs ?? "-");
    })),
  }));
  function sort(place, down) {
    by = place;
    descending = down;
    heads.forEach((head, each) => head.setAttribute("aria-sort", each !== by ? "none" : descending ? "descending" : "ascending"));
    const value = (entry) => columns[by].value(entry.each) ?? null;
    made.sort((one, other) => compared(value(one), value(other), descending));
    body.replaceChildren(...made.map((entry) => entry.line));
  }
  sort(by, descending);
  const table = h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, heads)), body);
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": caption }, table);
}

function compared(one, other, descending) {
  if (one === null || other === null) return (one === null) - (other === null);
  const order = typeof one === "number" ? one - other : String(one).localeCompare(String(other), "en", { numeric: true });
  return descending ? -order : order;
}
