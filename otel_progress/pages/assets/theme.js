// Light or dark: as the machine has it, or as chosen on the page.
import { h, lasting } from "./dom.js";

const CHOICES = ["auto", "light", "dark"];
const KEPT = "otel-progress-theme";

// A button that goes through them; `changed` is called when the colours have changed.
export function themeButton(changed) {
  let choice = CHOICES.includes(kept()) ? kept() : "auto";
  const button = h("button", { type: "button", class: "theme", click: () => {
    choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
    keep(choice);
    apply();
    changed();
  } });
  function apply() {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    button.textContent = `Theme: ${choice}`;
  }
  apply();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed, lasting());
  matchMedia("print").addEventListener("change", changed, lasting());
  return button;
}

// A page from a disk may have no storage.
function kept() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(choice) {
  try {
    localStorage.setItem(KEPT, choice);
  } catch {
    // Then it is for this visit of the page only.
  }
}

// A colour of base.css as a canvas takes it.
export function colourOf(name) {
  const probe = h("span", {});
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
