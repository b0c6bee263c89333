// Uploads of dropped, pasted or chosen files, in chunks (tus 1.0.0) so that they can be resumed.
"use strict";

const PIECE_BYTES = 8 << 20;
const TRIES = 6;

async function send(file, path, onProgress) {
  const memory = `upload:${path}:${file.size}:${file.lastModified}`;
  let address = localStorage.getItem(memory);
  let offset = address ? await offsetOf(address) : null;
  if (offset === null) {
    address = await begin(file, path);
    localStorage.setItem(memory, address);
    offset = 0;
  }
  let tries = 0;
  while (offset < file.size) {
    try {
      offset = await append(address, file.slice(offset, offset + PIECE_BYTES), offset, (done) => onProgress((offset + done) / file.size));
      tries = 0;
    } catch (error) {
      if (error.isFinal || ++tries === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** tries));
      offset = (await offsetOf(address)) ?? offset;
    }
    onProgress(offset / file.size);
  }
  localStorage.removeItem(memory);
}

async function offsetOf(address) {
  try {
    const answer = await fetch(address, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
    return answer.ok ? Number(answer.headers.get("Upload-Offset")) : null;
  } catch {
    return null;
  }
}

async function begin(file, path) {
  const named = btoa(String.fromCharCode(...new TextEncoder().encode(path)));
  const headers = { "Tus-Resumable": "1.0.0", "Upload-Length": String(file.size), "Upload-Metadata": `path ${named}` };
  const answer = await fetch("/api/v1/uploads", { method: "POST", headers });
  if (!answer.ok) throw refused(await answer.text());
  return answer.headers.get("Location");
}

function append(address, piece, offset, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", address);
    request.setRequestHeader("Tus-Resumable", "1.0.0");
    request.setRequestHeader("Upload-Offset", String(offset));
    request.setRequestHeader("Content-Type", "application/offset+octet-stream");
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onerror = () => reject(new Error("The connection was lost."));
    request.onload = () => {
      if (request.status === 204) resolve(Number(request.getResponseHeader("Upload-Offset")));
      else if (request.status === 409 || request.status >= 500) reject(new Error("The server did not accept the upload."));
      else reject(refused(request.responseText));
    };
    request.send(piece);
  });
}

function refused(text) {
  const sentences = JSON.parse(document.querySelector("meta[name=sentences]").content);
  let message = sentences.internal;
  try {
    message = sentences[JSON.parse(text).code] ?? message;
  } catch { /* not an error of the API */ }
  return Object.assign(new Error(message), { isFinal: true });
}

function dropZone(zone, take) {
  const input = zone.querySelector("input[type=file]");
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); });
  input.addEventListener("change", () => { if (input.files.length) take([...input.files]); });
}

function filesPage(zone) {
  const list = document.querySelector("[data-uploads]");
  const root = document.querySelector("[data-upload-root]");
  const called = document.querySelector("[data-upload-name]");
  dropZone(zone, (files) => files.forEach(async (file) => {
    const [line, name, bar] = ["li", "code", "progress"].map((tag) => document.createElement(tag));
    const path = `${root.value}/${(files.length === 1 && called?.value) || file.name}`;
    name.textContent = path;
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute("aria-label", `Uploading ${path}`);
    line.append(name, bar);
    list.append(line);
    try {
      await send(file, path, (done) => (bar.value = done));
      line.remove();
      htmx.trigger(document.body, "files-changed");
    } catch (error) {
      bar.remove();
      line.append(Object.assign(document.createElement("span"), { className: "failure", textContent: error.message }));
    }
  }));
}

function formField(zone) {
  const select = document.getElementById(zone.dataset.dropInto);
  const [bar, said] = [zone.querySelector("progress"), zone.querySelector(".said")];
  const take = async ([file]) => {
    if (!file) return;
    bar.hidden = false;
    said.textContent = "";
    try {
      await send(file, `/input/${file.name}`, (done) => (bar.value = done));
      if (![...select.options].some((option) => option.value === file.name)) select.add(new Option(file.name, file.name));
      select.value = file.name;
      select.querySelector("option[value='']")?.remove();
      said.textContent = `${file.name} was uploaded.`;
    } catch (error) {
      said.textContent = error.message;
    }
    bar.hidden = true;
  };
  dropZone(zone, take);
  zone.take = take;
}

function importForm(form) {
  const input = form.querySelector("input[type=file]");
  dropZone(form, (files) => {
    const chosen = new DataTransfer();
    chosen.items.add(files[0]);
    input.files = chosen.files;
    form.requestSubmit();
  });
}

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  const zone = document.activeElement?.closest("[data-upload-field]")?.querySelector(".drop") ?? document.querySelector("[data-upload-field] .drop");
  if (files.length && zone) zone.take(files);
});
document.querySelectorAll("[data-upload-drop]").forEach(filesPage);
document.querySelectorAll("[data-drop-into]").forEach(formField);
document.querySelectorAll("[data-import]").forEach(importForm);
