// ComfyUI's editor below our bar: loads the workflow's graph, saves it by itself, tells how its runs go.
"use strict";

const SAVE_EVERY_MS = 1500;
const EMPTY = { nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 };
const frame = document.querySelector("[data-editor]");
const workflow = document.body.dataset.workflow;
const run = new URLSearchParams(location.search).get("run");
const saved = document.querySelector("[data-saved]");
const adopt = document.querySelector("[data-adopt]");
let known = null;
let ownTab = null;
let ownGraph = null;

function say(text) {
  if (saved.textContent !== text) saved.textContent = text;
}

async function ready() {
  for (;;) {
    const inner = frame.contentWindow;
    if (inner?.app?.graph && inner.app.canvas && inner.app.api && inner.app.vueAppReady !== false) return inner.app;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function load(app) {
  const answer = await fetch(run ? `/runs/${run}/graph` : `/workflows/${workflow}/graph`);
  const found = await answer.json();
  const name = document.querySelector(".editor-bar .name").textContent;
  if (found.workflow) await app.loadGraphData(inEditor(found.workflow), true, true, name);
  else if (found.prompt) await showAll(app, () => app.loadApiJson(inEditor(numbered(found.prompt)), name));
  else await app.loadGraphData(inEditor(EMPTY));
  return found;
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
  ownTab = app.extensionManager?.workflow?.activeWorkflow?.path;
  ownGraph = app.graph.id;
}

function isOwn(app) {
  const tabs = app.extensionManager?.workflow;
  if (app.graph.id !== ownGraph) return false;
  const isRenamed = !tabs?.openWorkflows.some((tab) => tab.path === ownTab);
  if (isRenamed) own(app);
  return tabs?.activeWorkflow?.path === ownTab;
}

function saveOnKeys(app) {
  frame.contentWindow.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s" || event.shiftKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    save(app).catch((error) => say(`Not saved: ${error.message}`));
  }, true);
}

// What somebody made of a graph: without the sizes that nodes get when they are drawn, and where the editor looks.
function essence(graph) {
  const nodes = graph.nodes.map(({ id, type, pos, mode, title, color, bgcolor, widgets_values }) => [id, type, pos, mode, title, color, bgcolor, widgets_values]);
  return JSON.stringify([nodes, graph.links, graph.groups, graph.definitions]);
}

async function save(app) {
  adopt.hidden = isOwn(app);
  if (!isOwn(app)) return say(run ? "A run's graph, not saved" : "Not this workflow's tab");
  const graph = app.graph.serialize();
  const text = essence(graph);
  if (text === known) return say("Saved");
  say("Saving…");
  const body = { workflow: graph };
  try {
    const { output } = await app.graphToPrompt();
    if (Object.keys(output).length) body.prompt = output;
  } catch (error) {
    console.warn("The graph cannot be run yet, so only the editor's form of it is saved.", error);
  }
  const answer = await fetch(`/api/v1/workflows/${workflow}`, {
    method: "PATCH",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error((await answer.json()).message);
  known = text;
  say("Saved");
}

async function keepSaved(app) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, SAVE_EVERY_MS));
    try {
      await save(app);
    } catch (error) {
      say(`Not saved: ${error.message}`);
    }
  }
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
  const app = await ready();
  const found = await load(app);
  await closeOthers(app);
  // A run's graph is looked at, and saved over the workflow only when somebody says so.
  if (!run) own(app);
  // What has only the editor's form is saved at once, for that makes the form that can be run.
  if (found.prompt) known = essence(app.graph.serialize());
  listen(app);
  adopt.addEventListener("click", () => {
    own(app);
    known = null;
    save(app).catch((error) => say(`Not saved: ${error.message}`));
  });
  saveOnKeys(app);
  document.body.dataset.loaded = "true";
  await keepSaved(app);
}

document.querySelector("[data-accelerator]").addEventListener("change", (event) => chooseAccelerator(event.target));
addEventListener("beforeunload", (event) => {
  if (saved.textContent.startsWith("Saving") || saved.textContent.startsWith("Not saved")) event.preventDefault();
});
if (frame) main();
