// Live updates of runs, in lists and on a run's own page. Both catch up after a lost connection.
"use strict";

const ROWS_EVERY_MS = 250;
const OUTPUTS_EVERY_MS = 300;
const FINAL = ["succeeded", "failed", "cancelled"];

const REOPEN_MS = 3000;

// Browsers allow six connections to a server for all tabs, so hidden tabs close theirs. Browsers reconnect by themselves
// after an error, except when the server refuses the stream: then the page is requested again, which leads to the login if
// the session has ended.
function listen(address, handlers, catchUp) {
  let events = null;
  let isBehind = false;
  let isStopped = false;

  function open() {
    events = new EventSource(address());
    for (const [name, handle] of Object.entries(handlers)) events.addEventListener(name, (event) => handle(event.data ? JSON.parse(event.data) : {}));
    events.addEventListener("error", () => {
      isBehind = true;
      if (events?.readyState === EventSource.CLOSED) setTimeout(reopen, REOPEN_MS);
    });
    events.addEventListener("open", () => {
      if (isBehind) catchUp();
      isBehind = false;
    });
  }

  function reopen() {
    if (isStopped || document.hidden) return;
    close();
    catchUp();
    isBehind = false;
    open();
  }

  function close() {
    events?.close();
    events = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      isBehind = true;
      close();
    } else if (!events && !isStopped) open();
  });
  open();
  return () => {
    isStopped = true;
    close();
  };
}

function follow(list) {
  const waiting = new Set();
  let timer = null;

  async function refresh() {
    timer = null;
    const ids = [...waiting].slice(0, 100);
    waiting.clear();
    const query = new URLSearchParams(location.search);
    query.delete("before");
    query.set("ids", ids.join(","));
    if (list.dataset.in) query.set("in", list.dataset.in);
    const answer = await fetch(`/runs/rows?${query}`, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (answer?.headers.has("HX-Redirect")) location.reload();
    else if (answer?.ok) place(await answer.text(), ids);
  }

  function place(html, ids) {
    if (list.matches(":active")) return ids.forEach((run) => changed({ run })); // a press that has begun on a row ends on it
    const rows = new DOMParser().parseFromString(html, "text/html").querySelectorAll(".row");
    const ol = list.querySelector("ol.rows");
    const found = new Map([...rows].map((row) => [row.id, row]));
    for (const id of ids) {
      const [old, row] = [document.getElementById(`run-${id}`), found.get(`run-${id}`)];
      if (old && row) old.replaceWith(keepFocus(old, row));
      else if (old) old.remove();
      else if (row) ol.insertBefore(row, [...ol.children].find((other) => Number(other.dataset.created) < Number(row.dataset.created)) ?? (ol.querySelector("li.more") || null));
    }
    if (ol.querySelector(".row")) list.querySelector(".empty")?.remove();
    enhance(list);
  }

  function keepFocus(old, row) {
    if (old.contains(document.activeElement)) requestAnimationFrame(() => row.querySelector("a").focus());
    return row;
  }

  function changed({ run }) {
    waiting.add(run);
    timer ??= setTimeout(refresh, ROWS_EVERY_MS);
  }

  function moved({ run, done }) {
    const bar = document.getElementById(`run-${run}`)?.querySelector("progress");
    if (bar) bar.value = done;
  }

  const catchUp = () => htmx.ajax("GET", location.pathname + location.search, { target: list, swap: "innerHTML" });
  listen(() => `/live?since=${list.dataset.since}`, { run: changed, progress: moved }, catchUp);
}

function watch(page) {
  const find = (name) => page.querySelector(`[data-${name}]`);
  const timeline = () => page.querySelector(".timeline");
  if (FINAL.includes(timeline().dataset.state)) return;
  let shownAt = performance.now();
  let drawing = null;
  let again = null;

  const refresh = () => htmx.ajax("GET", location.pathname, { target: page, swap: "innerHTML" });

  function later() {
    clearTimeout(again);
    again = setTimeout(refresh, ROWS_EVERY_MS);
  }

  page.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (!detail.target.matches(":active")) return;
    if (detail.target === page) later();
    else if (detail.target.id === "outputs") output();
    else return;
    detail.shouldSwap = false; // it would take a press away that has begun, and is drawn a moment later
  });
  page.addEventListener("htmx:afterSwap", ({ detail }) => {
    if (detail.target === page) shownAt = performance.now();
  });

  async function status({ state }) {
    if (FINAL.includes(state)) stop();
    if (state !== timeline().dataset.state) await refresh();
  }

  function download({ path, done, total }) {
    const place = find("downloads");
    const line = [...place.children].find((each) => each.dataset.path === path) ?? place.appendChild(downloadLine(path));
    const bar = line.querySelector("progress");
    bar.max = total ?? 1;
    if (total) bar.value = done;
  }

  function progress({ node, display_node = node, value, max, done }) {
    const title = find("titles")?.querySelector(`[data-id="${CSS.escape(display_node)}"]`)?.textContent ?? display_node;
    find("step").hidden = false;
    find("node-title").textContent = title;
    find("node-step").textContent = max > 1 ? `step ${value} of ${max}` : "";
    find("graph-progress").value = done;
  }

  function preview({ image }) {
    find("preview").src = image;
    find("preview").hidden = false;
  }

  function tick() {
    const time = page.querySelector(".phases .now .phase-time");
    if (time) time.textContent = span(Number(time.dataset.ms) + performance.now() - shownAt);
  }

  function output() {
    drawing ??= setTimeout(() => {
      drawing = null;
      htmx.ajax("GET", location.pathname, { target: "#outputs", select: "#outputs", swap: "outerHTML" });
    }, OUTPUTS_EVERY_MS);
  }

  const address = () => `/api/v1/workflows/${page.dataset.workflow}/runs/${page.dataset.run}/events?after=${timeline().dataset.seq}`;
  const stop = listen(address, { status, download, progress, preview, output, cancelling: refresh, staged: refresh }, refresh);
  setInterval(tick, 1000);
}

function downloadLine(path) {
  const [line, name, bar] = ["div", "span", "progress"].map((tag) => document.createElement(tag));
  line.dataset.path = path;
  name.textContent = path;
  bar.setAttribute("aria-label", `Downloading ${path}`);
  line.append(name, bar);
  return line;
}

// The same format as formatting.py.
function span(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

document.querySelectorAll("[data-runs]").forEach(follow);
document.querySelectorAll("[data-run]").forEach(watch);
