// ComfyUI's editor below our bar: loads the workflow's graph, saves it by itself, tells how its runs go.
"use strict";

const SAVE_EVERY_MS = 1500;
const LOOK_EVERY_MS = 20; // whether the editor is there, which tells nobody
const EMPTY = { nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 };
const frame = document.querySelector("[data-editor]");
const workflow = document.body.dataset.workflow;
const run = new URLSearchParams(location.search).get("run");
const saved = document.querySelector("[data-saved]");
const adopt = document.querySelector("[data-adopt]");
const title = document.querySelector(".editor-bar .name");
const obstacle = document.querySelector("[data-obstacle]");
let saver = null;
let ownTab = null;
let ownGraph = null;

function say(text) {
  if (saved.textContent !== text) saved.textContent = text;
}

async function ready() {
  for (;;) {
    const inner = frame.contentWindow;
    if (inner?.app?.graph && inner.app.canvas && inner.app.api && inner.app.vueAppReady !== false) return inner.app;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

async function graph() {
  const answer = await fetch(run ? `/runs/${run}/graph` : `/workflows/${workflow}/graph`);
  return answer.json();
}

async function load(app, found) {
  const name = title.textContent;
  if (found.workflow) await app.loadGraphData(inEditor(found.workflow), true, true, name);
  else if (found.prompt) await showAll(app, () => app.loadApiJson(inEditor(numbered(found.prompt)), name));
  else await app.loadGraphData(inEditor(EMPTY), true, true, name);
}

// The editor asks `instanceof Array`, which holds only for what was made in its own window.
function inEditor(value) {
  return frame.contentWindow.JSON.parse(JSON.stringify(value));
}

// The editor shows results in nodes whose ids are numbers; the API takes any text for an id.
function numbered(prompt) {
  const ids = Object.keys(prompt);
  if (ids.every((id) => /^\d+$/.test(id))) return prompt;
  const numbers = new Map(ids.map((id, index) => [id, String(index + 1)]));
  const isLink = (value) => Array.isArray(value) && value.length === 2 && numbers.has(value[0]);
  const renumber = ([name, value]) => [name, isLink(value) ? [numbers.get(value[0]), value[1]] : value];
  return Object.fromEntries(
    ids.map((id) => [numbers.get(id), { ...prompt[id], inputs: Object.fromEntries(Object.entries(prompt[id].inputs ?? {}).map(renumber)) }]),
  );
}

// A graph from the API has no places for its nodes: the editor lays them out, wherever it looks. Sizes come with drawing.
async function showAll(app, load) {
  await load();
  for (let drawn = 0; drawn < 3; drawn++) await new Promise((resolve) => frame.contentWindow.requestAnimationFrame(resolve));
  await app.extensionManager?.command?.execute("Comfy.Canvas.FitView");
}

// The editor begins with an empty graph of its own; here there is one workflow.
async function closeOthers(app) {
  const tabs = app.extensionManager?.workflow;
  for (const tab of [...(tabs?.openWorkflows ?? [])]) {
    if (tab.path !== tabs.activeWorkflow?.path) await tabs.closeWorkflow?.(tab);
  }
}

// In the editor's other tabs are other graphs: they must not be saved over this one unasked. While it changes from one
// tab to another the tab is ahead of its graph, so both are looked at.
function own(app) {
  const tab = app.extensionManager?.workflow?.activeWorkflow;
  ownTab = tab?.path;
  ownGraph = app.graph.id;
  if (tab) keptHere(app, tab);
}

// The editor takes a tab that is no file of its own for one that was never saved. This one is kept by us, and whatever
// would ask for a name to save it under saves it here.
function keptHere(app, tab) {
  Object.defineProperty(tab, "isPersisted", { value: true, configurable: true });
  for (const size of [tab.size - 1, tab.size]) tab.size = size; // what it shows goes by this, and is looked at again
  tab.promptSave = async () => {
    await save(app);
    return null;
  };
}

function isOwn(app) {
  const tabs = app.extensionManager?.workflow;
  if (app.graph.id !== ownGraph) return false;
  const isRenamed = !tabs?.openWorkflows.some((tab) => tab.path === ownTab);
  if (isRenamed) own(app);
  return tabs?.activeWorkflow?.path === ownTab;
}

// The editor's own mark of what is not saved yet, which its warning on leaving goes by.
function unmark(app) {
  const tab = app.extensionManager?.workflow?.activeWorkflow;
  if (!tab?.isModified || !saver.isSaved) return;
  tab.changeTracker?.prepareForSave?.();
  tab.changeTracker?.reset();
  tab.isModified = false;
}

// Saves what is there to save, and says how that went.
async function save(app) {
  adopt.hidden = isOwn(app);
  if (!isOwn(app)) return say(run ? "A run's graph, not saved" : "Not this workflow's tab");
  try {
    if (!saver.isSaved) say("Saving…");
    if (await saver.save()) htmx.trigger(obstacle, "saved");
    unmark(app);
    say("Saved");
  } catch (error) {
    say(`Not saved: ${error.message}`);
  }
}

async function keepSaved(app) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, SAVE_EVERY_MS));
    await save(app);
  }
}

// The editor's Save and Save As, in its menu, by its keys and wherever else it offers them.
function takeCommands(app) {
  const commands = app.extensionManager?.command?.commands ?? [];
  const take = (id, action) => {
    const command = commands.find((each) => each.id === id);
    if (!command) return;
    const before = command.function;
    command.function = (...given) => (isOwn(app) ? action() : before(...given));
  };
  take("Comfy.SaveWorkflow", () => save(app));
  take("Comfy.SaveWorkflowAs", () => saveAs(app));
}

// Another workflow of the graph that is open; this one stays as it was saved.
async function saveAs(app) {
  const name = await app.extensionManager.dialog.prompt({ title: "Save as a new workflow", message: "Name:", defaultValue: `${title.textContent} (copy)` });
  if (!name?.trim()) return;
  await save(app);
  const body = { name: name.trim().slice(0, 200), workflow: app.graph.serialize(), prompt: await runnable(app) };
  const answer = await fetch("/api/v1/workflows", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) return say(`Not saved as "${name}": ${(await answer.json()).message}`);
  location.assign(`/workflows/${(await answer.json()).id}/edit`);
}

function saveOnKeys(app) {
  frame.contentWindow.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s" || event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    save(app);
  }, true);
}

// A click on a link of the bar waits for the edit before it.
function saveBeforeLeaving(app) {
  document.querySelector(".editor-bar").addEventListener("click", async (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !isOwn(app) || saver.isSaved) return;
    event.preventDefault();
    await save(app);
    location.assign(link.href);
  });
  // This page is asked before the editor in it, which goes by its mark.
  addEventListener("beforeunload", (event) => {
    if (!isOwn(app)) return;
    if (saver.isSaved) return unmark(app);
    event.preventDefault();
    save(app);
  });
}

// The bar's "Show it": the node that keeps the graph from running.
function showNodes(app) {
  obstacle.addEventListener("click", (event) => {
    const id = event.target.closest("[data-node]")?.dataset.node;
    const node = id && app.graph.getNodeById(id.split(":")[0]);
    if (!node) return;
    app.canvas.selectNode(node);
    app.canvas.centerOnNode(node);
  });
}

function listen(app) {
  const place = document.querySelector("[data-flight]");
  for (const kind of ["execution_start", "execution_success", "execution_error", "execution_interrupted", "status", "promptQueued"])
    app.api.addEventListener(kind, () => htmx.trigger(place, "flight"));
}

async function chooseAccelerator(select) {
  const answer = await fetch(`/api/v1/workflows/${workflow}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ accelerator: select.value || null }),
  });
  say(answer.ok ? "Saved" : "The accelerator could not be set");
}

async function main() {
  const [app, found] = await Promise.all([ready(), graph()]);
  saver = new Saver(app, workflow);
  await load(app, found);
  await closeOthers(app);
  // A run's graph is looked at, and saved over the workflow only when somebody says so.
  if (!run) own(app);
  // What has only the editor's form is saved at once, for that makes the form that can be run.
  if (found.prompt) saver.consider(app.graph.serialize());
  listen(app);
  adopt.addEventListener("click", () => {
    own(app);
    saver.consider(null);
    save(app);
  });
  for (const kind of ["pointerdown", "keydown"]) frame.contentWindow.addEventListener(kind, () => saver.touch(), { capture: true });
  takeCommands(app);
  saveOnKeys(app);
  saveBeforeLeaving(app);
  showNodes(app);
  document.body.dataset.loaded = "true";
  await keepSaved(app);
}

document.querySelector("[data-accelerator]").addEventListener("change", (event) => chooseAccelerator(event.target));
if (frame) main();
