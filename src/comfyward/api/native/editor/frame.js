// The editor's part of a workflow's page: loads the workflow's graph, and has the page save it automatically.
import { ask, isFramed, on, tell } from "./channel.js";
import { Saver, runnable } from "./saving.js";

const SAVE_EVERY_MS = 1500;
const POLL_EVERY_MS = 20; // for the editor, which sends no event when it is ready
const ASK_EVERY_MS = 2000;
const EMPTY = { nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 };
let saver = null;
let ownTab = null;
let ownGraph = null;

async function ready() {
  for (;;) {
    const { app } = window;
    if (app?.graph && app.canvas && app.api && app.vueAppReady !== false) return app;
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
  }
}

// The page's first answer; it may not have started to listen yet.
async function graph() {
  for (;;) {
    const found = await Promise.race([ask("graph"), new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS))]);
    if (found) return found;
  }
}

async function load(app, { name, workflow, prompt }) {
  if (workflow) await app.loadGraphData(workflow, true, true, name);
  else if (prompt) await showAll(app, () => app.loadApiJson(numbered(prompt), name));
  else await app.loadGraphData(EMPTY, true, true, name);
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
  for (let drawn = 0; drawn < 3; drawn++) await new Promise((resolve) => requestAnimationFrame(resolve));
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

// Saves any changes; the page shows the result.
async function save(app) {
  if (!isOwn(app)) return tell("state", { is: "other" });
  try {
    if (!saver.isSaved) tell("state", { is: "saving" });
    await saver.save();
    unmark(app);
    tell("state", { is: "saved" });
  } catch {
    tell("state", { is: "refused" });
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

// Saves the open graph as a new workflow, which the page opens.
async function saveAs(app) {
  await save(app);
  await ask("copy", { workflow: app.graph.serialize(), prompt: await runnable(app) }).catch(() => {});
}

function saveOnShortcut(app) {
  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s" || event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    save(app);
  }, true);
}

// By guard.js, before the editor's own handler.
function saveBeforeLeaving(app) {
  const leave = (event) => {
    if (!isOwn(app)) return;
    if (saver.isSaved) return unmark(app);
    event.preventDefault();
    save(app);
  };
  addEventListener("comfyward:leaving", leave);
}

function show(app, id) {
  const node = app.graph.getNodeById(String(id).split(":")[0]);
  if (!node) return;
  app.canvas.selectNode(node);
  app.canvas.centerOnNode(node);
}

function listen(app) {
  for (const kind of ["execution_start", "execution_success", "execution_error", "execution_interrupted", "status", "promptQueued"])
    app.api.addEventListener(kind, () => tell("flight"));
}

// The frame may open no window: the page does, for what it is asked, if its user agrees.
function openByPage() {
  window.open = (address = "") => {
    tell("open", { address: new URL(address, document.baseURI).href });
    return null;
  };
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href][target=_blank]:not([download])");
    if (!link || event.defaultPrevented) return;
    event.preventDefault();
    tell("open", { address: link.href });
  });
}

function obey(app) {
  on("save", () => save(app));
  on("show", ({ node }) => show(app, node));
  on("adopt", () => {
    adoptTab(app);
    saver.markSaved(null);
    return save(app);
  });
  // The former address is about to expire.
  on("address", ({ path }) => {
    app.api.api_base = path.replace(/\/$/, "");
  });
}

async function main() {
  const [app, found] = await Promise.all([ready(), graph()]);
  saver = new Saver(app);
  await load(app, found);
  await closeOthers(app);
  // A run's graph is saved to the workflow only on request.
  if (!found.isOfRun) adoptTab(app);
  // A workflow with only the editor's form of the graph is saved at once, which adds the form that can run.
  if (found.prompt) saver.markSaved(app.graph.serialize());
  listen(app);
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => saver.touch(), { capture: true });
  replaceCommands(app);
  saveOnShortcut(app);
  saveBeforeLeaving(app);
  openByPage();
  obey(app);
  tell("loaded");
  await autosave(app);
}

if (isFramed) main();
