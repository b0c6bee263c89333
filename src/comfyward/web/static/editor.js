// The page around ComfyUI's editor: its bar, and what the editor asks for. The editor has an origin of its own, with
// scripts of others; so its messages are taken from that origin and that window alone, each asks for one of a few things
// about this page's workflow, and people confirm here what leads elsewhere.
"use strict";

const RENEW_EVERY_MS = 5 * 60_000;
const LEAVE_AFTER_MS = 5000; // whether or not the editor answered
const FLIGHT_EVERY_MS = 250;
const frame = document.querySelector("[data-editor]");
const origin = frame?.dataset.origin ?? location.origin;
const workflow = document.body.dataset.workflow;
const run = new URLSearchParams(location.search).get("run");
const saved = document.querySelector("[data-saved]");
const adopt = document.querySelector("[data-adopt]");
const title = document.querySelector(".editor-bar .name");
const scripts = document.querySelector("[data-scripts]");
const allowed = JSON.parse(document.body.dataset.packs);
const obstacle = document.querySelector("[data-obstacle]");
const lacks = document.querySelector("[data-lacks]");
const waiting = new Map();
let last = 0;
let problem = "";

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function showStatus(text) {
  if (saved.textContent !== text) saved.textContent = text;
}

function tell(kind, body = {}) {
  frame.contentWindow.postMessage({ comfyward: kind, ...body }, origin);
}

// Resolves once the editor has done it, or after a while.
function ask(kind) {
  const id = ++last;
  return new Promise((resolve) => {
    waiting.set(id, resolve);
    setTimeout(resolve, LEAVE_AFTER_MS);
    tell(kind, { id });
  });
}

async function request(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  }).catch(() => {
    throw new Refusal(0, "the server is not responding. Retrying…");
  });
  if (answer.status === 401) throw new Refusal(401, "you are logged out. Log in in another tab to save.");
  if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => ({}))).message ?? "server error. Retrying…");
  return answer.json();
}

async function graph() {
  const found = await request("GET", run ? `/runs/${run}/graph` : `/workflows/${workflow}/graph`);
  return { ...found, name: title.textContent, isOfRun: Boolean(run) };
}

async function save({ workflow: graph, prompt }) {
  try {
    await request("PATCH", `/api/v1/workflows/${workflow}`, { workflow: graph, prompt });
  } catch (refusal) {
    problem = refusal.message;
    throw refusal;
  }
  htmx.trigger(obstacle, "saved");
  if (lacks.open && !document.getElementById("getting")) htmx.trigger("#missing", "saved");
}

// Asks for a name, and opens the new workflow of that name.
async function copy({ workflow: graph, prompt }) {
  const name = await named(`${title.textContent} (copy)`.slice(0, 200));
  if (!name) return;
  try {
    const made = await request("POST", "/api/v1/workflows", { name, workflow: graph, prompt });
    location.assign(`/workflows/${made.id}/edit`);
  } catch (refusal) {
    showStatus(`Not saved as "${name}": ${refusal.message}`);
  }
}

// The value of the button that closes a dialog; empty if it is open already.
function chosen(dialog) {
  if (document.querySelector("dialog[open]")) return "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

async function named(suggestion) {
  const dialog = document.querySelector("[data-naming]");
  const input = dialog.querySelector("input");
  if (!dialog.open) input.value = suggestion;
  return (await chosen(dialog)) && input.value.trim();
}

// Results of the workflow open at once, other sites after a question. Nothing of this website does.
async function open({ address }) {
  const url = new URL(address);
  if (!/^https?:$/.test(url.protocol) || url.origin === location.origin) return;
  if (url.origin !== origin) {
    const dialog = document.querySelector("[data-opening]");
    if (!dialog.open) dialog.querySelector("[data-address]").textContent = url.href;
    if (!(await chosen(dialog))) return;
  }
  window.open(url.href, "_blank", "noopener,noreferrer");
}

function state({ is }) {
  adopt.hidden = is !== "other";
  const texts = {
    saving: "Saving…",
    saved: "Saved",
    refused: `Not saved: ${problem}`,
    other: run ? "Run's graph (not saved)" : "Other tab (not saved)",
  };
  showStatus(texts[is] ?? "");
}

let flight = null;
function showFlight() {
  flight ??= setTimeout(() => {
    flight = null;
    htmx.trigger(document.querySelector("[data-flight]"), "flight");
  }, FLIGHT_EVERY_MS);
}

// The packs whose scripts the editor could not load, of those that it gets scripts of.
function packs({ failed }) {
  if (origin === location.origin) return; // where they are off
  const names = allowed.filter((name) => failed.includes(name));
  const shown = names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
  scripts.textContent = names.length ? `Scripts that do not load here: ${shown}` : "";
}

const HANDLERS = {
  graph,
  save,
  copy,
  open,
  packs,
  state,
  flight: showFlight,
  answer: ({ id }) => waiting.get(id)?.(),
  loaded: () => (document.body.dataset.loaded = "true"),
};

addEventListener("message", async (event) => {
  if (event.source !== frame?.contentWindow || event.origin !== origin) return;
  const { comfyward: kind, id, ...body } = event.data ?? {};
  if (!Object.hasOwn(HANDLERS, kind)) return;
  try {
    const found = await HANDLERS[kind](kind === "answer" ? { id } : body);
    if (id && kind !== "answer") tell("answer", { id, found });
  } catch (error) {
    if (id) tell("answer", { id, refusal: { status: error.status ?? 0, message: error.message } });
  }
});

// Links of the bar open once the last change is saved.
document.querySelector(".editor-bar").addEventListener("click", async (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !document.body.dataset.loaded) return;
  event.preventDefault();
  await ask("save");
  location.assign(link.href);
});

// "Show node" in the bar's list of what is missing.
lacks.addEventListener("click", (event) => {
  const node = event.target.closest("[data-node]")?.dataset.node;
  if (!node) return;
  lacks.open = false; // it may lie over the node
  tell("show", { node });
});
document.body.addEventListener("got", () => htmx.trigger(obstacle, "saved"));

adopt.addEventListener("click", () => tell("adopt"));

async function chooseAccelerator(select) {
  const chosen = { accelerator: select.value || null };
  const done = await request("PATCH", `/api/v1/workflows/${workflow}`, chosen).then(() => true, () => false);
  showStatus(done ? "Saved" : "Could not set the accelerator");
}

// The frame's address works for a quarter of an hour.
async function renew() {
  const { address } = await request("GET", `/workflows/${workflow}/frame`);
  const url = new URL(address, location.href);
  if (url.origin === origin) tell("address", { path: url.pathname });
}

// Some browsers do not find this machine under a name of the editor's own; then it is shown at the website's.
async function checkOrigin() {
  await fetch(`${origin}/`, { mode: "no-cors", credentials: "omit" }).catch(() => {
    const here = new URL(location.href);
    if (here.searchParams.has("frame")) return showStatus("The editor's address cannot be reached");
    here.searchParams.set("frame", "here");
    location.replace(here);
  });
}

document.querySelector("[data-accelerator]").addEventListener("change", (event) => chooseAccelerator(event.target));
if (origin !== location.origin) {
  checkOrigin();
  setInterval(() => renew().catch(() => {}), RENEW_EVERY_MS);
  for (const kind of ["online", "pageshow"]) addEventListener(kind, () => renew().catch(() => {}));
}
