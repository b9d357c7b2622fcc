// What changes on the server while a page is open: told by server-sent events, and asked for then.

const LEAST = 300; // Milliseconds between two updates; and as many times as long as one takes it rests after it:
const RATHER = 2;
const AGAIN = 10_000; // Milliseconds after which a server that had no room for one more is asked again.

// Calls `changed` whenever anything at `address` has changed, and every so many milliseconds, until that gives false, and
// `tell` with what becomes of it: live, lost, or over. A page that nobody sees asks for nothing: browsers have few
// connections for all pages of a site.
export function follow(address, changed, tell, every = Infinity) {
  let source = null;
  let isBusy = false;
  let isStale = false;
  let isOver = false;
  let beat = 0;

  async function update() {
    isStale = true;
    if (isBusy) return;
    isBusy = true;
    clearTimeout(beat);
    while (isStale && !isOver) {
      isStale = false;
      const began = performance.now();
      try {
        if ((await changed()) === false) {
          isOver = true;
          stop();
          tell("over");
        }
      } catch {
        tell("lost"); // The server has ended; the event source finds out whether it comes back, and tells of it.
      }
      const took = performance.now() - began;
      await new Promise((done) => setTimeout(done, Math.max(LEAST, RATHER * took)));
    }
    isBusy = false;
    if (every < Infinity && source !== null) beat = setTimeout(update, every);
  }

  function start() {
    if (isOver || source !== null || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("open", () => tell("live"));
    source.addEventListener("changed", update);
    source.addEventListener("error", () => {
      tell("lost");
      if (source?.readyState === EventSource.CLOSED) {
        stop();
        setTimeout(start, AGAIN);
      }
    });
  }

  function stop() {
    source?.close();
    source = null;
    clearTimeout(beat);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));
  addEventListener("pagehide", stop);
  addEventListener("pageshow", start);
  start();
}

const TOLD = { live: ["▶ live", "going"], lost: ["‖ not connected", "other"], over: ["✓ ended", "other"] };

// What `follow` tells, as a word on the page.
export function tellIn(place) {
  return (state) => {
    const [text, kind] = TOLD[state];
    place.textContent = text;
    place.className = `live ${kind}`;
  };
}

// JSON of the server.
export async function asked(address, options) {
  const answer = await fetch(address, { cache: "no-store", credentials: "same-origin", ...options });
  if (!answer.ok) throw new Error(`${answer.status}`);
  return answer.json();
}
