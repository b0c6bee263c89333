// comfyward's part of ComfyUI's editor: features that lead to other hosts lead here instead, or are hidden.
// It uses the editor's interfaces for extensions; where a version is named, only that one has the feature.
import { isFramed, tell } from "./channel.js";
import "./frame.js";

const { app } = window.comfyAPI.app;
const { api } = window.comfyAPI.api;
const isWorkflow = /\/workflows\/.+\/comfy$/.test(api.api_base);
const EMPTY = { nodes: [], links: [], groups: [], config: {}, extra: {}, version: 0.4 };
const POLL_EVERY_MS = 1500;

// Menus (both versions): the part with these commands is for ComfyUI's own users.
const FOREIGN_COMMANDS = [
  "Comfy.Help.OpenComfyUIIssues",
  "Comfy.Help.OpenComfyUIDocs",
  "Comfy.Help.OpenComfyOrgDiscord",
  "Comfy.Help.OpenComfyUIForum",
  "Comfy.ContactSupport",
  "Comfy.User.OpenSignInDialog",
  "Comfy.Onboarding.Replay",
  "Comfy.ToggleHelpCenter",
  "Comfy.OpenManagerDialog",
];

function notify(severity, summary, detail) {
  app.extensionManager.toast.add({ severity, summary, detail, life: 8000 });
}

// --- Missing models ------------------------------------------------------------------------------------------------

// The folder of a model, by the node of the graph that names its URL.
function folderOf(url) {
  const models = app.graph.nodes.flatMap((node) => node.properties?.models ?? []);
  const graphs = app.extensionManager?.workflow?.activeWorkflow?.activeState?.models ?? [];
  return [...models, ...graphs].find((model) => model.url === url)?.directory;
}

async function addToFiles(url, name, folder = folderOf(url)) {
  if (!folder) return notify("warn", "Not added", `${name}: the graph does not say which folder it belongs in. Add it on the page Files.`);
  const answer = await api.fetchApi("/comfyward/imports", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ url, path: `/models/${folder}/${name}` }),
  });
  if (!answer.ok) return notify("error", "Not added", (await answer.json()).error?.message ?? answer.statusText);
  follow((await answer.json()).id, name);
}

// Shows the progress of an import in a corner of the editor, until it has finished or failed.
async function follow(id, name) {
  const line = Object.assign(document.createElement("div"), { className: "comfyward-import", role: "status" });
  line.textContent = `Adding ${name} to Files…`;
  corner().append(line);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS));
    const found = await api.fetchApi("/comfyward/imports").then((answer) => answer.json(), () => null);
    if (!found) continue;
    const now = found.find((each) => each.id === id);
    if (now?.state === "failed") {
      line.textContent = `${name} could not be added: ${now.error}`;
      setTimeout(() => line.remove(), 30_000);
      return;
    }
    if (!now) break;
    line.textContent = `Adding ${name} to Files: ${now.total ? `${Math.floor((100 * now.done) / now.total)} %` : "…"}`;
  }
  line.textContent = `${name} is in Files now.`;
  setTimeout(() => line.remove(), 10_000);
  await app.refreshComboInNodes?.();
}

function corner() {
  const place = document.querySelector(".comfyward-imports") ?? Object.assign(document.createElement("div"), { className: "comfyward-imports" });
  document.body.append(place);
  return place;
}

// 1.47 and 1.58 hand downloads to the program that hosts it.
window.__comfyDesktop2 = {
  isRemote: () => false,
  downloadModel: (url, name, folder) => addToFiles(url, name, folder).then(() => true),
};

// 1.32, and other code that makes the browser download from another host: a link that a script or a person clicks.
const { click } = HTMLAnchorElement.prototype;
const isForeignDownload = (link) => link.hasAttribute("download") && /^https?:$/.test(link.protocol) && link.host !== location.host;
const take = (link) => addToFiles(link.href, link.download || decodeURIComponent(link.pathname.split("/").pop()));
HTMLAnchorElement.prototype.click = function () {
  if (isForeignDownload(this)) take(this);
  else click.call(this);
};
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[download]");
  if (!link || !isForeignDownload(link)) return;
  event.preventDefault();
  take(link);
}, true);

// --- Commands for ComfyUI's own site -------------------------------------------------------------------------------

// One of the editor's stores: extensions have no other way to change the menu.
function store(name) {
  return document.querySelector("#vue-app")?.__vue_app__?.config.globalProperties.$pinia?._s.get(name);
}

function closeCommands() {
  for (const command of app.extensionManager.command.commands) {
    if (FOREIGN_COMMANDS.includes(command.id) || command.id.startsWith("Comfy.Manager.")) command.function = () => {};
  }
  const menu = store("menuItem")?.menuItems;
  const help = menu?.findIndex((item) => item.key === "Help" || item.label === "Help") ?? -1;
  if (help >= 0) menu.splice(help, 1);
}

// --- Cancelled jobs ------------------------------------------------------------------------------------------------

// The editor (1.58) counts a cancelled job as failed, and has no text for it.
function labelCancelledJobs() {
  const vue = document.querySelector("#vue-app")?.__vue_app__;
  const texts = vue?._context.provides[vue.__VUE_I18N_SYMBOL__]?.global;
  if (!texts) return;
  const failed = texts.t("sideToolbar.queueProgressOverlay.jobFailed");
  store("queue")?.$subscribe((_, { historyTasks: [newest] }) => {
    const jobFailed = newest?.displayStatus === "Cancelled" ? "Job cancelled" : failed;
    texts.mergeLocaleMessage(texts.locale.value, { sideToolbar: { queueProgressOverlay: { jobFailed } } });
  });
}

// --- Scripts of packs ----------------------------------------------------------------------------------------------

// The editor logs a script that does not load, and goes on. A browser answers a second import as it did the first.
async function tellOfFailedPacks() {
  const failed = new Set();
  const scripts = (await api.getExtensions()).filter((path) => path.startsWith("/extensions/"));
  await Promise.all(scripts.map((path) => import(api.fileURL(path)).catch(() => failed.add(decodeURIComponent(path.split("/")[2])))));
  tell("packs", { failed: [...failed] });
}

app.registerExtension({
  name: "comfyward",
  init() {
    if (!isWorkflow) return;
    // The editor starts with a graph of its own, and would look for its models; a workflow's page loads its own graph.
    const load = app.loadGraphData.bind(app);
    app.loadGraphData = (graph, ...rest) => load(graph ?? structuredClone(EMPTY), ...rest);
  },
  setup() {
    closeCommands();
    labelCancelledJobs();
    if (isFramed) tellOfFailedPacks();
  },
});
