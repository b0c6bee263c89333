// Messages between the editor in its frame and the website's page around it. The page has another origin; each side
// takes messages of the other's exact origin and window alone.
const origin = document.querySelector('meta[name="comfyward-page"]')?.content || location.origin;
const waiting = new Map();
const handlers = new Map();
let last = 0;

export const isFramed = window.parent !== window;

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function tell(kind, body = {}) {
  window.parent.postMessage({ comfyward: kind, ...JSON.parse(JSON.stringify(body)) }, origin); // no proxies of the editor
}

// Resolves to the page's answer; throws a Refusal.
export function ask(kind, body = {}) {
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    tell(kind, { ...body, id });
  });
}

export function on(kind, handler) {
  handlers.set(kind, handler);
}

function receive({ id, found, refusal }) {
  const { resolve, reject } = waiting.get(id) ?? {};
  waiting.delete(id);
  if (refusal) reject?.(new Refusal(refusal.status, refusal.message));
  else resolve?.(found);
}

addEventListener("message", async (event) => {
  if (event.source !== window.parent || event.origin !== origin) return;
  const { comfyward: kind, ...body } = event.data ?? {};
  if (kind === "answer") return receive(body);
  if (!handlers.has(kind)) return;
  await handlers.get(kind)(body);
  if (body.id) tell("answer", { id: body.id });
});
