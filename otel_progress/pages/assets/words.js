// Numbers as people read them, the same as in a terminal.

export const NANO = 1e9;

export function duration(seconds) {
  if (seconds < 0.9995) return `${(seconds * 1000).toFixed(seconds < 0.09995 ? 1 : 0)} ms`;
  if (seconds < 59.995) return `${seconds.toFixed(2)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${two(Math.floor((whole % 86400) / 3600))}h`;
}

function two(number) {
  return String(number).padStart(2, "0");
}

// A time that there may be none of: `-`.
export function time(seconds) {
  return seconds ? duration(seconds) : "-";
}

export function percent(share) {
  return share === null || share === undefined ? "-" : `${(share * 100).toFixed(0)}%`;
}

export function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many ?? `${one}s`}`;
}

// A text of the program behind a word of ours, which stands once where the text begins with it; null without a text.
export function behind(word, text) {
  return text ? (text.toLowerCase().startsWith(`${word} `) ? text : `${word} ${text}`) : null;
}

// An instant in ISO 8601, in the time of whoever reads; the text itself where it is none.
export function instant(text) {
  const when = new Date(text);
  return Number.isNaN(when.getTime()) ? text : when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

// How each result and state is drawn: a sign beside the word, so that no colour is needed to tell them apart.
const SIGNS = {
  success: "✓", failure: "✕", fallback: "≈", cancelled: "⊘", abandoned: "⌁", interrupted: "⊘",
  running: "▶", waiting: "…", stalled: "‖", crashed: "☠", unknown: "?", done: "✓",
};
const KINDS = { success: "good", done: "good", failure: "bad", crashed: "bad", running: "going", waiting: "going" };

export function signOf(state) {
  return SIGNS[state] ?? "•";
}

// good, bad, going or other: the class that gives its colour.
export function kindOf(state) {
  return KINDS[state] ?? "other";
}
