// On every page: times in the user's time zone, copy buttons, confirmations, zoom, shortcuts, dark mode.
"use strict";

function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const moment = new Date(time.dateTime);
    time.title = moment.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
    const isToday = moment.toDateString() === new Date().toDateString();
    time.textContent = moment.toLocaleString(undefined, isToday ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" });
  }
}

function measure(root) {
  for (const media of root.querySelectorAll("[data-measure]")) {
    const show = () => {
      const [width, height] = media.videoWidth ? [media.videoWidth, media.videoHeight] : [media.naturalWidth, media.naturalHeight];
      const place = media.closest("figure")?.querySelector("[data-dimensions]");
      if (width && place) place.textContent = `· ${width} × ${height}` + (media.duration ? ` · ${media.duration.toFixed(1)} s` : "");
    };
    if (media.complete || media.readyState) show();
    media.addEventListener("load", show);
    media.addEventListener("loadedmetadata", show);
  }
  for (const image of root.querySelectorAll("[data-hide-if-missing]")) {
    const hide = () => (image.hidden = true);
    if (image.complete && !image.naturalWidth) hide();
    image.addEventListener("error", hide);
  }
}

function enhance(root) {
  localize(root);
  measure(root);
}

async function copy(button) {
  const place = document.querySelector(button.dataset.copy);
  if (navigator.clipboard) await navigator.clipboard.writeText(place.textContent);
  else {
    // The Clipboard API requires https; copying a selection does not.
    getSelection().selectAllChildren(place);
    document.execCommand("copy");
  }
  const before = button.textContent;
  button.style.minWidth = `${button.offsetWidth}px`; // keeps the layout stable
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

function zoom(button) {
  const dialog = document.createElement("dialog");
  dialog.className = "zoomed";
  dialog.setAttribute("aria-label", button.getAttribute("aria-label"));
  const image = new Image();
  image.src = button.dataset.zoom;
  image.alt = button.querySelector("img").alt;
  image.addEventListener("click", () => dialog.classList.toggle("full"));
  const close = document.createElement("button");
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(image, close);
  document.body.append(dialog);
  dialog.showModal();
}

function switchTheme() {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme === "dark";
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

function onKeydown(event) {
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const link = document.querySelector(`[data-key="${CSS.escape(event.key)}"]:not([aria-disabled])`);
  if (link) return link.click();
  const rows = [...document.querySelectorAll(".rows .row > a")];
  if (!rows.length || !["j", "k"].includes(event.key)) return;
  const here = rows.indexOf(document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, here + (event.key === "j" ? 1 : -1)))].focus();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.copy) copy(button);
  if (button.dataset.zoom) zoom(button);
  if (button.dataset.random) document.getElementById(button.dataset.random).value = Math.floor(Math.random() * 2 ** 32);
  if ("back" in button.dataset) history.back(); // the browser, or draft.js, has kept what was typed there
  if ("themeSwitch" in button.dataset) switchTheme();
});
document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});
document.addEventListener("keydown", onKeydown);
// A press would be lost that ends on another element than the one it began on: the next look draws the list anew.
const looksAgain = (element) => element.getAttribute("hx-trigger")?.includes("every ");
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (looksAgain(detail.requestConfig.elt) && detail.target.matches(":active")) detail.shouldSwap = false;
});
document.addEventListener("htmx:afterSwap", (event) => enhance(event.detail.target.parentElement ?? document));
document.addEventListener("htmx:beforeRequest", () => document.getElementById("problems")?.replaceChildren());
document.addEventListener("htmx:sendError", () => {
  const problem = document.createElement("div");
  problem.className = "problem";
  problem.textContent = "Could not reach the server. Try again.";
  document.getElementById("problems")?.replaceChildren(problem);
});
enhance(document);
