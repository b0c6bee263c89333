// What is typed in a form outlives the session and a refusal: if the form's request, or another of its page, leads to the
// login, or the answer is a problem, its fields are filled in again when the same user comes back to its page. Passwords,
// files, and URLs that may hold a key are not kept.
"use strict";

{
  const KEY = "draft";
  const UNKEPT = ["password", "file", "hidden", "submit", "button"];
  const mayHoldKey = (field) => field.type === "url" && /[?@#]/.test(field.value);
  const isKept = (field) => field.name && !UNKEPT.includes(field.type) && !mayHoldKey(field);
  const hasChoice = (field) => ["checkbox", "radio"].includes(field.type);
  const addressOf = (form) => form.getAttribute("action") ?? form.getAttribute("hx-post") ?? "";
  const isSent = (form) => form.method === "post" || form.hasAttribute("hx-post");
  const user = document.querySelector(".who .name")?.textContent;

  const keep = (form) => {
    if (!user) return; // the login's own form
    const fields = [...form.elements].filter(isKept).map(({ name, type, value, checked }) => ({ name, type, value, checked }));
    if (!fields.length) return sessionStorage.removeItem(KEY);
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ user, path: location.pathname, form: addressOf(form), fields }));
    } catch {
      sessionStorage.removeItem(KEY); // more than the browser stores
    }
  };

  const isChanged = (field) => {
    if (!isKept(field)) return false;
    if (hasChoice(field)) return field.checked !== field.defaultChecked;
    if (field.options) return [...field.options].some((each) => (each.defaultSelected ? !each.selected : each.selected && each.index > 0));
    return field.value !== field.defaultValue;
  };

  const keepChanged = () => {
    const changed = [...document.forms].find((form) => isSent(form) && [...form.elements].some(isChanged));
    if (changed) keep(changed);
  };

  const say = (sentence) => {
    const notice = document.createElement("div");
    notice.className = "notice";
    notice.textContent = sentence;
    document.getElementById("problems")?.replaceChildren(notice);
  };

  const fill = (form, draft) => {
    for (const field of [...form.elements].filter(isKept)) {
      const index = draft.fields.findIndex((each) => each.name === field.name && (!hasChoice(field) || each.value === field.value));
      if (index < 0) continue;
      const [was] = draft.fields.splice(index, 1);
      if (hasChoice(field)) field.checked = was.checked;
      else field.value = was.value;
    }
    say(`${draft.waits} What you had typed is here again.`);
  };

  const wait = (why) => sessionStorage.setItem(KEY, JSON.stringify({ ...draft, waits: why }));

  const draft = JSON.parse(sessionStorage.getItem(KEY));
  const isDoor = /^\/(login|enter)(\/|$)/.test(location.pathname); // to the session: there is no user yet
  const isElsewhere = draft?.waits && draft.user === user && draft.path !== location.pathname;
  const isRefused = draft?.user === user && document.querySelector("[data-back]");
  if (draft && location.pathname === "/login" && (draft.waits || location.search.startsWith("?next="))) {
    wait("You had been logged out, and nothing was sent.");
    say("Your session has ended. Log in, and what you typed is there again.");
  } else if (draft && isRefused) wait("It was not accepted.");
  else if (!isDoor && !isElsewhere) sessionStorage.removeItem(KEY);
  if (draft?.waits && !isRefused && draft.user === user && draft.path === location.pathname) {
    const form = [...document.forms].find((each) => addressOf(each) === draft.form);
    if (form) fill(form, draft);
  }

  document.addEventListener("submit", ({ target }) => target.method === "post" && keep(target));
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (detail.verb !== "get" && detail.elt.matches("form")) keep(detail.elt);
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const { verb, elt } = detail.requestConfig;
    if (detail.xhr.getResponseHeader("HX-Redirect")?.startsWith("/login?next=")) {
      if (verb === "get" || !elt.matches("form")) keepChanged(); // else it is kept since it was sent
    } else if (verb !== "get") sessionStorage.removeItem(KEY);
  });
}
