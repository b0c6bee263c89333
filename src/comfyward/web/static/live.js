// Runs as they go: rows of a list, and a run's own page. After a break (a server that restarts) both catch up.
"use strict";

const ROWS_EVERY_MS = 250;

function follow(list) {
  const waiting = new Set();
  let timer = null;
  let wasBroken = false;

  async function refresh() {
    timer = null;
    const ids = [...waiting].slice(0, 100);
    waiting.clear();
    const query = new URLSearchParams(location.search);
    query.delete("before");
    query.set("ids", ids.join(","));
    if (list.dataset.in) query.set("in", list.dataset.in);
    const answer = await fetch(`/runs/rows?${query}`, { headers: { "HX-Request": "true" } });
    if (answer.ok) place(await answer.text(), ids);
  }

  function place(html, ids) {
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
    dress(list);
  }

  function keepFocus(old, row) {
    if (old.contains(document.activeElement)) requestAnimationFrame(() => row.querySelector("a").focus());
    return row;
  }

  const events = new EventSource("/live");
  events.addEventListener("run", (event) => {
    waiting.add(JSON.parse(event.data).run);
    timer ??= setTimeout(refresh, ROWS_EVERY_MS);
  });
  events.addEventListener("progress", (event) => {
    const { run, done } = JSON.parse(event.data);
    const bar = document.getElementById(`run-${run}`)?.querySelector("progress");
    if (bar) bar.value = done;
  });
  events.addEventListener("error", () => (wasBroken = true));
  events.addEventListener("open", () => {
    if (wasBroken) htmx.ajax("GET", location.pathname + location.search, { target: list, swap: "innerHTML" });
    wasBroken = false;
  });
}

function watch(page) {
  const seen = page.querySelector(".timeline").dataset.seq;
  const address = `/api/v1/workflows/${page.dataset.workflow}/runs/${page.dataset.run}/events?after=${seen}`;
  const find = (name) => page.querySelector(`[data-${name}]`);
  const state = () => page.querySelector(".timeline")?.dataset.state;
  const isOver = () => ["succeeded", "failed", "cancelled"].includes(state());
  if (isOver()) return;
  const refresh = () => htmx.ajax("GET", location.pathname, { target: page, swap: "innerHTML" });
  const events = new EventSource(address);
  let wasBroken = false;

  events.addEventListener("status", async (event) => {
    const now = JSON.parse(event.data).state;
    const isLast = ["succeeded", "failed", "cancelled"].includes(now);
    if (isLast) events.close();
    if (now !== state()) await refresh();
  });
  events.addEventListener("download", (event) => {
    const { path, done, total } = JSON.parse(event.data);
    const place = find("downloads");
    let line = [...place.children].find((each) => each.dataset.path === path);
    if (!line) {
      line = document.createElement("div");
      line.dataset.path = path;
      const name = document.createElement("span");
      name.textContent = path;
      const bar = document.createElement("progress");
      bar.setAttribute("aria-label", `Fetching ${path}`);
      line.append(name, bar);
      place.append(line);
    }
    const bar = line.querySelector("progress");
    bar.max = total ?? 1;
    if (total) bar.value = done;
  });
  events.addEventListener("progress", (event) => {
    const data = JSON.parse(event.data);
    const title = find("titles")?.querySelector(`[data-id="${CSS.escape(data.node)}"]`)?.textContent ?? data.node;
    find("step").hidden = false;
    find("node-title").textContent = title;
    find("node-step").textContent = data.max > 1 ? `step ${data.value} of ${data.max}` : "";
    find("graph-progress").value = Math.min(1, (data.nodes_done + (data.max ? data.value / data.max : 0)) / Math.max(1, data.nodes_total));
  });
  events.addEventListener("preview", (event) => {
    const image = find("preview");
    image.src = JSON.parse(event.data).image;
    image.hidden = false;
  });
  events.addEventListener("cancelling", refresh);
  events.addEventListener("error", () => (wasBroken = true));
  events.addEventListener("open", () => {
    if (wasBroken) refresh();
    wasBroken = false;
  });
}

document.querySelectorAll("[data-runs]").forEach(follow);
document.querySelectorAll("[data-run]").forEach(watch);
