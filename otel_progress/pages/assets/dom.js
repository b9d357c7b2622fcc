// Elements. Every text enters the page here and as a text: nothing of it is ever read as HTML.

const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const SVG = "http://www.w3.org/2000/svg";

// Control and bidirectional characters as escapes that can be seen, as in a terminal; lines and tabs stay.
export function shown(text) {
  return String(text).replace(UNSEEN, (sign) => {
    const code = sign.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

// h("p", {class: "note"}, "text", h("b", {}, "more")): functions are listeners, null and false are left out.
export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

// The same for SVG.
export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : shown(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false) element.append(document.createTextNode(shown(child)));
  }
  return element;
}

let drawing = new AbortController();

// For listeners of what is no part of the page: they end when the page is drawn anew.
export function lasting() {
  return { signal: drawing.signal };
}

// The page is about to be drawn anew.
export function drawnAnew() {
  drawing.abort();
  drawing = new AbortController();
}

// A part of the page with a heading; `name` is its id and its address.
export function section(name, title, ...children) {
  return h("section", { id: name, "aria-labelledby": `${name}-title` }, h("h2", { id: `${name}-title` }, title), children);
}
