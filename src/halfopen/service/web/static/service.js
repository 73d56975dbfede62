// Talks to the service: the session of this browser, questions, and the stream of what is now.

const SESSION = "halfopen-session";
const STATE = "event: state\ndata: ";
const AGAIN_MS = [1000, 2000, 4000, 8000];

// A browser may forbid storage; the page then asks for a link each time it is opened.
let session = "";
try {
  session = localStorage.getItem(SESSION) || "";
} catch {}

function remember(made) {
  session = made;
  try {
    if (made) localStorage.setItem(SESSION, made);
    else localStorage.removeItem(SESSION);
  } catch {}
}

/** There is no session, or it is over. */
export class Out extends Error {}

/** The service refuses because too many look at once. */
export class Full extends Error {}

async function ask(path, credential) {
  const answer = await fetch(path, { headers: { Authorization: credential }, cache: "no-store" });
  if (answer.status === 401) throw new Out((await answer.text()).trim());
  if (!answer.ok) {
    const words = (await answer.text()).trim() || String(answer.status);
    throw path.startsWith("/stream") && answer.status === 503 ? new Full(words) : new Error(words);
  }
  return answer;
}

/** Open the link in the address, where there is one, and take it out of the address. */
export async function enter() {
  const link = /^#link=(.+)$/.exec(location.hash);
  if (!link) return;
  history.replaceState(null, "", location.pathname);
  const answer = await ask("/session", `Link ${decodeURIComponent(link[1])}`);
  remember((await answer.json()).session);
}

/** The words of the page, which need no session. */
export async function words(language) {
  return (await fetch(`/words?lang=${language}`, { cache: "no-store" })).json();
}

/** What the service answers to a path. */
export async function get(path) {
  return (await ask(path, `Bearer ${session}`)).json();
}

/** Follow the stream until `stop` is called: every state to `state`, and each change of the connection to `status`. */
export function follow(path, state, status) {
  const stopping = new AbortController();
  let failed = 0;
  (async () => {
    while (!stopping.signal.aborted) {
      try {
        await once(path, stopping.signal, (event) => {
          failed = 0;
          state(event);
        });
        status("lost");
      } catch (e) {
        if (stopping.signal.aborted) return;
        if (e instanceof Out) {
          remember("");
          status("out");
          return;
        }
        // A network that fails is usual; a defect of the page should be found.
        if (!(e instanceof Full)) console.error(String(e), e.stack);
        status(e instanceof Full ? "full" : "lost");
      }
      await new Promise((done) => setTimeout(done, AGAIN_MS[Math.min(failed++, AGAIN_MS.length - 1)]));
    }
  })();
  return () => stopping.abort();
}

async function once(path, signal, state) {
  const answer = await fetch(path, { headers: { Authorization: `Bearer ${session}` }, cache: "no-store", signal });
  if (answer.status === 401) throw new Out();
  if (answer.status === 503) throw new Full();
  if (!answer.ok) throw new Error(String(answer.status));
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const event = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (event.startsWith("event: over")) throw new Out();
      if (event.startsWith(STATE)) state(JSON.parse(event.slice(STATE.length)));
    }
  }
}
