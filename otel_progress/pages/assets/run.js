// The page of a run.
import { dataOf } from "./data.js";
import { section } from "./dom.js";
import { header } from "./header.js";
import { insights } from "./insights.js";
import { stages } from "./stages.js";
import { waterfall } from "./waterfall.js";

const data = await dataOf("data");
const place = document.getElementById("page");
const bars = waterfall(data.visits, { seconds: data.figures.seconds });
window.waterfall = bars;

place.replaceChildren(header(data, () => bars.recolour()), insights(data, () => {}), section("waterfall", "What went on when", bars.element), stages(data, () => {}));
bars.draw();
document.documentElement.dataset.drawn = "yes";
