// The blocks of data of the page, each an element whose id is its name; compressed where they are long.

export async function dataOf(name) {
  const element = document.getElementById(name);
  if (element === null) return null;
  if (element.type === "application/json") return JSON.parse(element.textContent);
  const packed = Uint8Array.from(atob(element.textContent), (sign) => sign.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}
