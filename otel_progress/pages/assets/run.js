// The page of a run.
import { dataOf } from "./data.js";
import { h } from "./dom.js";
import { header } from "./header.js";
import { insights } from "./insights.js";
import { stages } from "./stages.js";

const data = await dataOf("data");
const place = document.getElementById("page");

place.replaceChildren(header(data, () => {}), insights(data, () => {}), stages(data, () => {}));
document.documentElement.dataset.drawn = "yes";
