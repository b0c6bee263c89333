// Idempotent forms. Each form carries an intent: a random text that stays the same as long as the form does, so that the
// server answers a repeated request with its first response. Buttons are disabled until their request is answered.
"use strict";

const HELD_MS = 8000; // buttons work again after this, in case the navigation was stopped
const view = random();
const isReturn = performance.getEntriesByType("navigation")[0]?.type === "back_forward";

function random() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const memoryOf = (element) => `intent:${element.getAttribute("action") ?? element.getAttribute("hx-post") ?? location.pathname}`;

// The intent with which the same contents were sent from this page before, else a new one. Going back to a run's form
// keeps its intent, too.
function intentOf(element, contents) {
  const [memory, what] = [memoryOf(element), digest(contents)];
  const before = JSON.parse(sessionStorage.getItem(memory));
  const isHere = before?.view === view || (isReturn && element.matches("[data-run-form]"));
  const intent = isHere && before?.what === what ? before.intent : random();
  sessionStorage.setItem(memory, JSON.stringify({ view, what, intent }));
  return intent;
}

// A digest of a form's contents: sessionStorage is too small for many prompts.
function digest(text) {
  let [first, second] = [0x811c9dc5, 0x01000193];
  for (let index = 0; index < text.length; index++) {
    first = Math.imul(first ^ text.charCodeAt(index), 0x01000193);
    second = Math.imul(second ^ text.charCodeAt(index), 0x85ebca6b);
  }
  return `${text.length} ${first >>> 0} ${second >>> 0}`;
}

function contentsOf(form, data) {
  const secret = new Set([...form.querySelectorAll("[type=password]")].map((input) => input.name));
  const entries = [...data].filter(([name]) => name !== "intent" && !secret.has(name));
  return JSON.stringify(entries.map(([name, value]) => [name, value instanceof File ? `${value.name} ${value.size} ${value.lastModified}` : value]));
}

function hold(element) {
  const buttons = element.matches("button") ? [element] : element.querySelectorAll("button:not([type=button])");
  for (const button of buttons) {
    if (button.disabled) continue;
    button.dataset.held = document.activeElement === button ? "focus" : "";
    button.disabled = true;
  }
  setTimeout(() => release(element), HELD_MS);
}

function release(root) {
  for (const button of [root, ...root.querySelectorAll("[data-held]")]) {
    if (button.dataset?.held === undefined) continue;
    button.disabled = false;
    if (button.dataset.held === "focus" && document.activeElement === document.body) button.focus();
    delete button.dataset.held;
  }
}

document.addEventListener("formdata", ({ target, formData }) => {
  if (target.method === "post") formData.set("intent", intentOf(target, contentsOf(target, formData)));
});
document.addEventListener("submit", (event) => {
  if (!event.defaultPrevented && event.target.method === "post") hold(event.target);
});
document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.verb !== "get" && !detail.formData.has("intent")) detail.formData.set("intent", intentOf(detail.elt, ""));
});
document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (detail.requestConfig.verb !== "get") hold(detail.elt);
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.requestConfig.verb === "get") return;
  const leaves = detail.successful && detail.xhr.getResponseHeader("HX-Redirect");
  if (leaves) return;
  release(detail.elt);
  if (detail.successful) sessionStorage.removeItem(memoryOf(detail.elt)); // the next press is a new request
});
addEventListener("pageshow", ({ persisted }) => persisted && release(document));
