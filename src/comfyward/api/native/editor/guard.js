// Runs before the editor: its page talks to the server that it came from and to no other host.
// Requests to other hosts (releases, accounts, telemetry, sizes of models, surveys) fail as if there were no network,
// before they are sent. It works by mechanism, not by address, and so for every version.
(() => {
  "use strict";
  // Browsers that block what third parties store deny it to a frame of another site. Then it lasts as long as the page.
  const memory = () => {
    const kept = new Map();
    const methods = {
      getItem: (name) => kept.get(String(name)) ?? null,
      setItem: (name, value) => void kept.set(String(name), String(value)),
      removeItem: (name) => void kept.delete(String(name)),
      clear: () => kept.clear(),
      key: (index) => [...kept.keys()][index] ?? null,
    };
    return new Proxy({}, {
      get: (_, name) => (name === "length" ? kept.size : (methods[name] ?? kept.get(name))),
      set: (_, name, value) => (methods.setItem(name, value), true),
      has: (_, name) => kept.has(name),
      deleteProperty: (_, name) => (methods.removeItem(name), true),
      ownKeys: () => [...kept.keys()],
      getOwnPropertyDescriptor: (_, name) =>
        kept.has(name) ? { value: kept.get(name), writable: true, enumerable: true, configurable: true } : undefined,
    });
  };
  for (const name of ["localStorage", "sessionStorage"]) {
    try {
      window[name].length;
    } catch {
      Object.defineProperty(window, name, { value: memory(), configurable: true });
    }
  }

  // One browser, several accounts: what the editor stored for another one at this address is not this one's.
  // The website's own keys stay, where the address is the website's.
  const OWNER = "comfyward.account";
  const OURS = /^(comfyward\.|theme$|upload:)/;
  const owner = document.querySelector('meta[name="comfyward-account"]')?.content;
  if (owner && localStorage.getItem(OWNER) !== owner) {
    for (const name of Object.keys(localStorage)) if (!OURS.test(name)) localStorage.removeItem(name);
    sessionStorage.clear();
    window.indexedDB?.databases?.().then((all) => all.forEach(({ name }) => indexedDB.deleteDatabase(name)), () => {});
    window.caches?.keys().then((names) => names.forEach((name) => caches.delete(name)), () => {});
    localStorage.setItem(OWNER, owner);
  }

  // Our other scripts come after the editor's own handler, which warns of changes that are saved already.
  addEventListener("beforeunload", (event) => {
    if (!dispatchEvent(new Event("comfyward:leaving", { cancelable: true }))) event.preventDefault();
  }, { capture: true });

  const isForeign = (address) => {
    try {
      const url = new URL(address, document.baseURI);
      return /^(https?|wss?):$/.test(url.protocol) && url.host !== location.host;
    } catch {
      return false;
    }
  };

  const { fetch } = window;
  window.fetch = (resource, options) => {
    if (isForeign(resource?.url ?? resource)) {
      // HEAD asks for the size of a model; without one, the editor (1.32) assumes that the model needs a login.
      if (options?.method === "HEAD") return Promise.resolve(new Response(null, { headers: { "Content-Length": "0" } }));
      return Promise.reject(new TypeError("Failed to fetch"));
    }
    // Past its cache, the browser would fetch the descriptions of nodes (1.5 MB) each time; so it asks if they changed.
    return fetch.call(window, resource, options?.cache === "no-store" ? { ...options, cache: "no-cache" } : options);
  };

  const { open, send } = XMLHttpRequest.prototype;
  const foreign = new WeakSet();
  XMLHttpRequest.prototype.open = function (method, address, ...rest) {
    if (isForeign(address)) foreign.add(this);
    else foreign.delete(this);
    return open.call(this, method, address, ...rest);
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (!foreign.has(this)) return send.call(this, body);
    setTimeout(() => {
      for (const kind of ["error", "loadend"]) this.dispatchEvent(new ProgressEvent(kind));
    });
  };

  const { sendBeacon } = navigator;
  navigator.sendBeacon = (address, data) => !isForeign(address) && sendBeacon.call(navigator, address, data);

  for (const name of ["WebSocket", "EventSource"]) {
    window[name] = new Proxy(window[name], {
      construct(target, [address, ...rest]) {
        if (isForeign(address)) throw new DOMException("Other hosts are not spoken to.", "SecurityError");
        return new target(address, ...rest);
      },
    });
  }

  // Scripts and frames of others: sign-in, surveys, payment.
  for (const [kind, attribute] of [[HTMLScriptElement, "src"], [HTMLIFrameElement, "src"], [HTMLLinkElement, "href"]]) {
    const own = Object.getOwnPropertyDescriptor(kind.prototype, attribute);
    Object.defineProperty(kind.prototype, attribute, {
      ...own,
      set(value) {
        if (isForeign(value)) setTimeout(() => this.dispatchEvent(new Event("error")));
        else own.set.call(this, value);
      },
    });
    const { setAttribute } = kind.prototype;
    kind.prototype.setAttribute = function (name, value) {
      if (name.toLowerCase() === attribute) this[attribute] = value;
      else setAttribute.call(this, name, value);
    };
  }
})();
