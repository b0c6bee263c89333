// ComfyUI's editor below our bar: loads the workflow's graph, saves it automatically, and shows its unfinished runs.
"use strict";

const SAVE_EVERY_MS = 1500;
const POLL_EVERY_MS = 20; // for the editor, which sends no event when it is ready
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

function showStatus(text) {
  if (saved.textContent !== text) saved.textContent = text;
}

async function ready() {
  for (;;) {
    const inner = frame.contentWindow;
    if (inner?.app?.graph && inner.app.canvas && inner.app.api && inner.app.vueAppReady !== false) return inner.app;
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
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

// The editor uses `instanceof Array`, which is true only for arrays of its own window.
function inEditor(value) {
  return frame.contentWindow.JSON.parse(JSON.stringify(value));
}

// The editor shows results only in nodes with numeric ids; the API accepts any string.
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

// A graph from the API has no node positions. The editor chooses some, outside the view, and sizes once it has drawn.
async function showAll(app, load) {
  await load();
  for (let drawn = 0; drawn < 3; drawn++) await new Promise((resolve) => frame.contentWindow.requestAnimationFrame(resolve));
  await app.extensionManager?.command?.execute("Comfy.Canvas.FitView");
}

// The editor opens with an empty graph in a tab of its own.
async function closeOthers(app) {
  const tabs = app.extensionManager?.workflow;
  for (const tab of [...(tabs?.openWorkflows ?? [])]) {
    if (tab.path !== tabs.activeWorkflow?.path) await tabs.closeWorkflow?.(tab);
  }
}

// Graphs of the editor's other tabs must not be saved to this workflow. The editor switches to a tab before it loads the
// tab's graph, so both have to match.
function adoptTab(app) {
  const tab = app.extensionManager?.workflow?.activeWorkflow;
  ownTab = tab?.path;
  ownGraph = app.graph.id;
  if (tab) markPersisted(app, tab);
}

// To the editor, a tab without a file of its own has never been saved. Marks this one as saved, and replaces the dialog
// that asks for a file name.
function markPersisted(app, tab) {
  Object.defineProperty(tab, "isPersisted", { value: true, configurable: true });
  for (const size of [tab.size - 1, tab.size]) tab.size = size; // a reactive property: makes the editor render the tab again
  tab.promptSave = async () => {
    await save(app);
    return null;
  };
}

function isOwn(app) {
  const tabs = app.extensionManager?.workflow;
  if (app.graph.id !== ownGraph) return false;
  const isRenamed = !tabs?.openWorkflows.some((tab) => tab.path === ownTab);
  if (isRenamed) adoptTab(app);
  return tabs?.activeWorkflow?.path === ownTab;
}

// Clears the editor's own mark of unsaved changes, which makes it warn before the page closes.
function unmark(app) {
  const tab = app.extensionManager?.workflow?.activeWorkflow;
  if (!tab?.isModified || !saver.isSaved) return;
  tab.changeTracker?.prepareForSave?.();
  tab.changeTracker?.reset();
  tab.isModified = false;
}

// Saves any changes and shows the result.
async function save(app) {
  adopt.hidden = isOwn(app);
  if (!isOwn(app)) return showStatus(run ? "Run's graph (not saved)" : "Other tab (not saved)");
  try {
    if (!saver.isSaved) showStatus("Saving…");
    if (await saver.save()) htmx.trigger(obstacle, "saved");
    unmark(app);
    showStatus("Saved");
  } catch (error) {
    showStatus(`Not saved: ${error.message}`);
  }
}

async function autosave(app) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, SAVE_EVERY_MS));
    await save(app);
  }
}

// The editor's Save and Save As commands, from its menu and shortcuts.
function replaceCommands(app) {
  const commands = app.extensionManager?.command?.commands ?? [];
  const replace = (id, action) => {
    const command = commands.find((each) => each.id === id);
    if (!command) return;
    const before = command.function;
    command.function = (...given) => (isOwn(app) ? action() : before(...given));
  };
  replace("Comfy.SaveWorkflow", () => save(app));
  replace("Comfy.SaveWorkflowAs", () => saveAs(app));
}

// Saves the open graph as a new workflow.
async function saveAs(app) {
  const name = await app.extensionManager.dialog.prompt({ title: "Save as new workflow", message: "Name:", defaultValue: `${title.textContent} (copy)` });
  if (!name?.trim()) return;
  await save(app);
  const body = { name: name.trim().slice(0, 200), workflow: app.graph.serialize(), prompt: await runnable(app) };
  const answer = await fetch("/api/v1/workflows", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) return showStatus(`Not saved as "${name}": ${(await answer.json()).message}`);
  location.assign(`/workflows/${(await answer.json()).id}/edit`);
}

function saveOnShortcut(app) {
  frame.contentWindow.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s" || event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    save(app);
  }, true);
}

// Links of the bar open once the last change is saved.
function saveBeforeLeaving(app) {
  document.querySelector(".editor-bar").addEventListener("click", async (event) => {
    const link = event.target.closest("a[href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !isOwn(app) || saver.isSaved) return;
    event.preventDefault();
    await save(app);
    location.assign(link.href);
  });
  // Runs before the editor's own handler.
  addEventListener("beforeunload", (event) => {
    if (!isOwn(app)) return;
    if (saver.isSaved) return unmark(app);
    event.preventDefault();
    save(app);
  });
}

// The bar's "Show node": the node that keeps the graph from running.
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
  showStatus(answer.ok ? "Saved" : "Could not set the accelerator");
}

async function main() {
  const [app, found] = await Promise.all([ready(), graph()]);
  saver = new Saver(app, workflow);
  await load(app, found);
  await closeOthers(app);
  // A run's graph is saved to the workflow only on request.
  if (!run) adoptTab(app);
  // A workflow with only the editor's form of the graph is saved at once, which adds the form that can run.
  if (found.prompt) saver.markSaved(app.graph.serialize());
  listen(app);
  adopt.addEventListener("click", () => {
    adoptTab(app);
    saver.markSaved(null);
    save(app);
  });
  for (const kind of ["pointerdown", "keydown"]) frame.contentWindow.addEventListener(kind, () => saver.touch(), { capture: true });
  replaceCommands(app);
  saveOnShortcut(app);
  saveBeforeLeaving(app);
  showNodes(app);
  document.body.dataset.loaded = "true";
  await autosave(app);
}

document.querySelector("[data-accelerator]").addEventListener("change", (event) => chooseAccelerator(event.target));
if (frame) main();
