// What is typed in a form outlives the session: if the form's request leads to the login, its fields are filled in again
// on the page where the login leads, for the same user. Passwords and files are not kept.
"use strict";

{
  const KEY = "draft";
  const isKept = (field) => field.name && !["password", "file", "hidden", "submit", "button"].includes(field.type);
  const hasChoice = (field) => ["checkbox", "radio"].includes(field.type);
  const addressOf = (form) => form.getAttribute("action") ?? form.getAttribute("hx-post") ?? "";
  const user = document.querySelector(".who .name")?.textContent;

  const keep = (form) => {
    const fields = [...form.elements].filter(isKept).map(({ name, type, value, checked }) => ({ name, type, value, checked }));
    if (!user || !fields.length) return;
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ user, path: location.pathname, form: addressOf(form), fields }));
    } catch {
      sessionStorage.removeItem(KEY); // more than the browser stores
    }
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
    say("You had been logged out, and nothing was sent. What you had typed is here again.");
  };

  const draft = JSON.parse(sessionStorage.getItem(KEY));
  const isLogin = location.pathname === "/login"; // also after a wrong password, and then without ?next
  if (!isLogin) sessionStorage.removeItem(KEY);
  else if (draft && (draft.waits || location.search.startsWith("?next="))) {
    sessionStorage.setItem(KEY, JSON.stringify({ ...draft, waits: true }));
    say("Your session has ended. Log in, and what you typed is there again.");
  }
  if (draft?.waits && draft.user === user && draft.path === location.pathname) {
    const form = [...document.forms].find((each) => addressOf(each) === draft.form);
    if (form) fill(form, draft);
  }

  document.addEventListener("submit", ({ target }) => target.method === "post" && keep(target));
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    if (detail.verb !== "get" && detail.elt.matches("form")) keep(detail.elt);
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (!detail.xhr.getResponseHeader("HX-Redirect")?.startsWith("/login?next=")) sessionStorage.removeItem(KEY);
  });
}
