// The items of each platform by stages: how long they took in the middle, how many failed, which stand out.
import { h, section } from "./dom.js";
import { sortable } from "./table.js";
import { duration } from "./words.js";

export function platforms(data) {
  const stages = data.figures.stages.filter((stage) => stage.platforms.some((each) => each.platform !== null));
  if (stages.length === 0) return null;
  const rows = new Map();
  for (const stage of stages) {
    for (const each of stage.platforms) {
      if (each.platform === null) continue;
      if (!rows.has(each.platform)) rows.set(each.platform, new Map());
      rows.get(each.platform).set(stage.stage, each);
    }
  }
  const slowest = Math.max(...stages.flatMap((stage) => stage.platforms.map((each) => each.median)), 0);
  const table = sortable({
    caption: "The middle of the times of a platform's items; ▲ stands out from the others of its stage",
    columns: [
      { title: "platform", value: ([name]) => name },
      ...stages.map((stage) => ({
        title: stage.stage || "(no name)", number: true,
        value: ([, found]) => found.get(stage.stage)?.median ?? null,
        cell: ([, found]) => cell(found.get(stage.stage), slowest),
      })),
    ],
    rows: [...rows], by: 1, descending: true,
  });
  return section("platforms", "Platforms by stages", table);
}

function cell(found, slowest) {
  if (found === undefined) return "-";
  const bar = h("span", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${slowest ? Math.max(2, (found.median / slowest) * 70) : 2}px`;
  const said = [
    found.outlier && h("b", { class: "bad" }, "▲ ", h("span", { class: "unseen" }, "stands out, ")),
    duration(found.median),
    h("span", { class: "dim" }, ` ×${found.items}`),
    found.failed > 0 && h("span", { class: "bad" }, ` ✕${found.failed}`, h("span", { class: "unseen" }, " failed")),
  ];
  return h("span", { class: "measured" }, h("span", {}, said), bar);
}
