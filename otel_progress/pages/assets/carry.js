// What somebody has done to a page that is drawn anew: it is done to the new one too.

// The elements in both that stand for the same: in each section those of a kind in their order.
function pairs(old, fresh, selector) {
  return [...old.querySelectorAll("section[id]")].flatMap((section) => {
    const others = fresh.querySelector(`#${section.id}`)?.querySelectorAll(selector) ?? [];
    return [...section.querySelectorAll(selector)].map((each, place) => [each, others[place]]);
  }).filter(([, other]) => other !== undefined);
}

// Gives what has to be done when the new one is in the place of the old one.
export function carried(old, fresh) {
  for (const [table, other] of pairs(old, fresh, "table")) {
    const heads = [...table.querySelectorAll("th[aria-sort]")];
    const place = heads.findIndex((head) => head.ariaSort !== "none");
    const head = other.querySelectorAll("th[aria-sort]")[place];
    for (let turn = 0; place >= 0 && head && turn < 2 && head.ariaSort !== heads[place].ariaSort; turn += 1) head.querySelector("button").click();
  }
  for (const [details, other] of pairs(old, fresh, "details")) other.open = details.open;
  const scrolled = pairs(old, fresh, ".wide").map(([wide, other]) => [other, wide.scrollLeft]);
  const like = (element) => `${element.tagName} ${element.id} ${element.className} ${element.dataset.stage ?? element.ariaLabel ?? element.textContent}`;
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const name = focused && like(focused);
  const turn = focused && [...old.querySelectorAll(focused.tagName)].filter((each) => like(each) === name).indexOf(focused);
  const next = focused && [...fresh.querySelectorAll(focused.tagName)].filter((each) => like(each) === name)[turn];
  return () => {
    for (const [wide, left] of scrolled) wide.scrollLeft = left;
    next?.focus({ preventScroll: true });
  };
}

// Waits until nobody holds the pointer down or has text selected.
export async function atRest() {
  while (isHeld || document.getSelection()?.type === "Range") {
    document.documentElement.dataset.held = "yes"; // For whoever waits for it to wait.
    await new Promise((done) => {
      for (const name of ["pointerup", "pointercancel", "selectionchange"]) document.addEventListener(name, done, { once: true });
    });
  }
  delete document.documentElement.dataset.held;
}

let isHeld = false;
addEventListener("pointerdown", () => { isHeld = true; }, true);
for (const name of ["pointerup", "pointercancel", "blur"]) addEventListener(name, () => { isHeld = false; }, true);
