// Files that this browser sends, in parts (tus 1.0): a part that is lost is sent again, and a file that is chosen
// once more after a reload continues where it ended.
import { batch, signal } from "@preact/signals";
import { ApiError, session } from "./api.js";
import { uploading } from "./live.js";
import { t } from "./texts.js";

const PART = 16 * 1024 * 1024;
const AT_ONCE = 2;
const RETRY_MS = [1000, 2000, 5000, 10000];
const BEGUN = "uploads";
const MAX_BEGUN = 50;

/** Each upload in a signal of its own: `{id, name, size, sent, state, error}`; the state is "waiting", "sending",
 * "lost" (the connection is), "done" or "failed".
 * @type {import("@preact/signals").Signal<import("@preact/signals").Signal<any>[]>} */
export const uploads = signal([]);
let lastId = 0;

/** Send files. `fields` are those of the metadata, such as `storage_name` and `folder`. */
export function send(/** @type {File[]} */ files, /** @type {Record<string, unknown>} */ fields) {
  const added = files.map((file) => signal({ id: (lastId += 1), name: file.name, size: file.size, sent: 0, state: "waiting", error: "", file, fields, stop: new AbortController() }));
  uploads.value = [...uploads.value, ...added];
  next();
}

/** End an upload, or remove one that has ended from the list. */
export async function end(/** @type {import("@preact/signals").Signal<any>} */ upload) {
  const { state, stop, url, file, fields } = upload.peek();
  uploads.value = uploads.peek().filter((each) => each !== upload);
  stop.abort();
  forget(nameOf(file, fields));
  if (url && state !== "done") await request("DELETE", url, {}).catch(() => {});
  next();
}

/** Try an upload again that has failed. */
export function retry(/** @type {import("@preact/signals").Signal<any>} */ upload) {
  upload.value = { ...upload.peek(), state: "waiting", error: "" };
  next();
}

function next() {
  const all = uploads.peek();
  const free = AT_ONCE - all.filter((each) => ["sending", "lost"].includes(each.peek().state)).length;
  for (const each of all.filter((one) => one.peek().state === "waiting").slice(0, Math.max(0, free))) run(each);
  sum();
}

/** What the frame of the page shows of the uploads. */
function sum() {
  const open = uploads.peek().map((each) => each.peek()).filter((each) => ["waiting", "sending", "lost"].includes(each.state));
  const size = open.reduce((all, each) => all + each.size, 0);
  const sent = open.reduce((all, each) => all + each.sent, 0);
  uploading.value = open.length ? { count: open.length, part: size ? sent / size : 0 } : null;
}

async function run(upload) {
  change(upload, { state: "sending" });
  for (let failures = 0; ; failures += 1) {
    try {
      await sendAll(upload, () => (failures = 0));
      change(upload, { state: "done" });
      break;
    } catch (error) {
      if (upload.peek().stop.signal.aborted) return;
      if (error.status && error.status < 500 && error.status !== 409 && error.status !== 423) {
        change(upload, { state: "failed", error: error.message });
        break;
      }
      change(upload, { state: "lost" });
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]));
      if (upload.peek().stop.signal.aborted) return;
    }
  }
  next();
}

function change(upload, fields) {
  batch(() => {
    upload.value = { ...upload.peek(), ...fields };
    sum();
  });
}

async function sendAll(upload, progressed) {
  const { file, fields, stop } = upload.peek();
  let [url, offset] = await begin(upload);
  change(upload, { url, sent: offset, state: "sending" });
  while (offset < file.size) {
    const headers = { "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset) };
    const start = offset;
    const reply = await request("PATCH", url, headers, file.slice(offset, offset + PART), stop.signal, (sent) => change(upload, { sent: start + sent }));
    offset = Number(reply.getResponseHeader("Upload-Offset"));
    change(upload, { sent: offset });
    progressed();
  }
  forget(nameOf(file, fields));
}

/** The address of an upload and how much of it has arrived: of one that was begun before, or of a new one. */
async function begin(upload) {
  const { file, fields, stop, url: known } = upload.peek();
  const name = nameOf(file, fields);
  const begun = known ?? stored()[name];
  if (begun) {
    try {
      const reply = await request("HEAD", begun, {}, null, stop.signal);
      return [begun, Number(reply.getResponseHeader("Upload-Offset"))];
    } catch (error) {
      if (![403, 404, 410].includes(error.status)) throw error;
    }
  }
  const metadata = Object.entries({ filename: file.name, filetype: file.type, ...fields }).filter(([, value]) => value !== "" && value !== undefined);
  const headers = { "Upload-Length": String(file.size), "Upload-Metadata": metadata.map(([key, value]) => `${key} ${base64(String(value))}`).join(",") };
  const reply = await request("POST", "api/v1/uploads", headers, null, stop.signal);
  const url = new URL(reply.getResponseHeader("Location"), reply.responseURL).href;
  localStorage.setItem(BEGUN, JSON.stringify(Object.fromEntries([...Object.entries(stored()), [name, url]].slice(-MAX_BEGUN))));
  return [url, 0];
}

function base64(text) {
  return btoa(Array.from(new TextEncoder().encode(text), (each) => String.fromCharCode(each)).join(""));
}

function nameOf(file, fields) {
  return JSON.stringify([file.name, file.size, file.lastModified, fields]);
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(BEGUN) ?? "{}");
  } catch {
    return {};
  }
}

function forget(name) {
  const { [name]: _, ...others } = stored();
  localStorage.setItem(BEGUN, JSON.stringify(others));
}

/** `fetch` does not say how much has been sent, so this is the older way.
 * @returns {Promise<XMLHttpRequest>} */
function request(method, url, headers, body = null, stop = undefined, progress = undefined) {
  return new Promise((resolve, reject) => {
    const ask = new XMLHttpRequest();
    ask.open(method, url);
    const token = session.value?.csrf_token;
    const all = { "Tus-Resumable": "1.0.0", ...(token ? { "X-CSRF-Token": token } : {}), ...headers };
    for (const [name, value] of Object.entries(all)) ask.setRequestHeader(name, value);
    if (progress) ask.upload.onprogress = (event) => progress(event.loaded);
    ask.onload = () => (ask.status < 300 ? resolve(ask) : reject(new ApiError(messageOf(ask), ask.status)));
    ask.onerror = () => reject(new ApiError(t("SaveAny does not answer. Is it running, and are you online?"), 0));
    ask.onabort = ask.onerror;
    stop?.addEventListener("abort", () => ask.abort());
    ask.send(body);
  });
}

function messageOf(ask) {
  try {
    return JSON.parse(ask.responseText).message;
  } catch {
    return `HTTP ${ask.status}`;
  }
}

addEventListener("beforeunload", (event) => uploading.peek() && event.preventDefault());
