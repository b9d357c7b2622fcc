// From times to places: the part of the time that is in view.

const LEAST = 1000; // Nanoseconds in view.
const STEPS = [1, 2, 5];

export function scaleOf(first, last) {
  const whole = { from: first, to: Math.max(last, first + LEAST) };
  const view = { ...whole };
  let width = 1;
  function show(from, to) {
    const length = Math.min(Math.max(to - from, LEAST), whole.to - whole.from);
    view.from = Math.min(Math.max(from, whole.from), whole.to - length);
    view.to = view.from + length;
  }
  return {
    view, whole, show,
    resize: (pixels) => { width = Math.max(1, pixels); },
    width: () => width,
    x: (at) => ((at - view.from) / (view.to - view.from)) * width,
    at: (x) => view.from + (x / width) * (view.to - view.from),
    fit: () => show(whole.from, whole.to),
    pan: (pixels) => {
      const by = (pixels / width) * (view.to - view.from);
      show(view.from + by, view.to + by);
    },
    zoom: (factor, x = width / 2) => {
      const at = view.from + (x / width) * (view.to - view.from);
      show(at - (at - view.from) / factor, at + (view.to - at) / factor);
    },
  };
}

// Times for the marks of an axis, of which each has so many pixels of room at least.
export function ticksOf(scale, room) {
  const length = scale.view.to - scale.view.from;
  const least = (length / scale.width()) * room;
  const step = stepOf(least);
  const found = [];
  for (let at = Math.ceil(scale.view.from / step) * step; at <= scale.view.to; at += step) found.push(at);
  return { step, found };
}

function stepOf(least) {
  const minute = 60e9;
  for (const each of [minute, 2 * minute, 5 * minute, 10 * minute, 30 * minute, 60 * minute, 120 * minute, 360 * minute, 720 * minute]) {
    if (least > 20e9 && each >= least) return each;
  }
  if (least > 20e9) return Math.ceil(least / (1440 * minute)) * 1440 * minute;
  const power = 10 ** Math.floor(Math.log10(least));
  return (STEPS.find((each) => each * power >= least) ?? 10) * power;
}

// The time of a mark, as exact as the marks lie apart.
export function tickText(at, step) {
  if (at === 0) return "0";
  if (step < 1e6) return `${(at / 1e6).toFixed(step < 1e4 ? 3 : 2)} ms`;
  if (step < 1e9 && Math.abs(at) < 1e9) return `${(at / 1e6).toFixed(0)} ms`;
  if (step < 60e9 && Math.abs(at) < 60e9) return `${(at / 1e9).toFixed(Math.max(0, Math.ceil(-Math.log10(step / 1e9))))} s`;
  const seconds = Math.round(at / 1e9);
  const parts = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  if (step < 1e9) return `${parts[0] * 60 + parts[1]}m ${((at / 1e9) % 60).toFixed(Math.ceil(-Math.log10(step / 1e9)))}s`;
  if (parts[0] === 0) return step < 60e9 || parts[2] ? `${parts[1]}m ${String(parts[2]).padStart(2, "0")}s` : `${parts[1]}m`;
  return `${parts[0]}h ${String(parts[1]).padStart(2, "0")}m${step < 60e9 ? ` ${String(parts[2]).padStart(2, "0")}s` : ""}`;
}
