// Requests to the API, with the session of this browser. All addresses are relative to the page, so that they
// also work behind a proxy with a path.
import { signal } from "@preact/signals";
import { language, t } from "./texts.js";

/** Who is logged in: the reply of `GET /session`; null for nobody, undefined before that is known. */
export const session = signal(undefined);

/** An error with a message for people. `status` is 0 if there was no reply. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status @param {{field: string, message: string}[]} details
   * @param {string} kind */
  constructor(message, status, details = [], kind = "") {
    super(message);
    this.status = status;
    this.details = details;
    this.kind = kind;
  }
}

/** @typedef {{body?: unknown, query?: Record<string, unknown>, headers?: Record<string, string>, signal?: AbortSignal}} Options */

/** Ask the API, and return the JSON of its reply. Raises `ApiError`.
 * @param {string} method @param {string} path below /api/v1/ @param {Options} [options] */
async function ask(method, path, options) {
  return jsonOf(await send(method, path, options));
}

/** @param {string} method @param {string} path @param {Options} [options] of which a `body` may be a file */
async function send(method, path, { body, query, headers, signal: stop } = {}) {
  const token = session.value?.csrf_token;
  try {
    return await fetch(`api/v1/${path}${queryText(query)}`, {
      method,
      headers: {
        "Accept-Language": language(),
        ...(method === "GET" ? {} : { "Content-Type": "application/json" }),
        ...(token && method !== "GET" ? { "X-CSRF-Token": token } : {}),
        ...headers,
      },
      body: body instanceof Blob ? body : body === undefined ? undefined : JSON.stringify(body),
      signal: stop,
    });
  } catch (error) {
    if (stop?.aborted) throw error;
    throw new ApiError(t("SaveAny does not answer. Is it running, and are you online?"), 0);
  }
}

/** The content of a reply. Raises `ApiError` with the message in it. */
async function jsonOf(/** @type {Response} */ reply) {
  const text = await reply.text();
  let data;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(t("The answer ({status}) is not from SaveAny; something in between refused the request.", { status: reply.status }), reply.status);
  }
  if (reply.ok) return data;
  if (reply.status === 401 && session.value) session.value = null;
  throw new ApiError(sentence(data?.message ?? reply.statusText), reply.status, data?.details ?? [], data?.error ?? "");
}

/** Have the API make a file, and the browser save it under the name that it has there. Returns its size.
 * @param {string} path @param {unknown} body */
export async function download(path, body) {
  const reply = await send("POST", path, { body });
  if (!reply.ok) return jsonOf(reply);
  const file = await reply.blob().catch(() => {
    throw new ApiError(t("The connection broke before the end of the file."), 0);
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = reply.headers.get("Content-Disposition")?.match(/filename="(.+)"/)?.[1] ?? "";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return file.size;
}

/** @template {string} P @param {P} path @param {Record<string, unknown>} [query] @param {AbortSignal} [stop]
 * @returns {Promise<import("saveany-api").Reply<"get", P>>} */
export const get = (path, query, stop) => ask("GET", path, { query, signal: stop });
/** @template {string} P @param {P} path @param {unknown} [body] @param {Record<string, string>} [headers]
 * @returns {Promise<import("saveany-api").Reply<"post", P>>} */
export const post = (path, body = {}, headers = {}) => ask("POST", path, { body, headers });
/** A request whose body is a file of the reader, or nothing.
 * @template {string} P @param {P} path @param {Record<string, unknown>} query @param {File | null} file
 * @returns {Promise<import("saveany-api").Reply<"post", P>>} */
export const postFile = (path, query, file) => ask("POST", path, { query, body: file ?? undefined, headers: { "Content-Type": "application/octet-stream" } });
/** @template {string} P @param {P} path @param {unknown} body @returns {Promise<import("saveany-api").Reply<"put", P>>} */
export const put = (path, body) => ask("PUT", path, { body });
/** @template {string} P @param {P} path @param {unknown} body @returns {Promise<import("saveany-api").Reply<"patch", P>>} */
export const patch = (path, body) => ask("PATCH", path, { body });
/** @template {string} P @param {P} path @param {Record<string, unknown>} [query]
 * @returns {Promise<import("saveany-api").Reply<"delete", P>>} */
export const remove = (path, query) => ask("DELETE", path, { query });

/** All pages of a list, as one. For lists that are short. */
export async function all(path, name, query = {}) {
  const found = [];
  let cursor;
  do {
    const page = await get(path, { ...query, cursor });
    found.push(...page[name]);
    cursor = page.next_cursor;
  } while (cursor);
  return found;
}

/** Find out who is logged in. */
export async function loadSession() {
  try {
    session.value = await get("session");
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    session.value = null;
  }
}

/** Begin a session with a token or key, or with the code of a login link. */
export async function logIn(/** @type {{token?: string, key?: string, code?: string}} */ secret) {
  session.value = await post("session", secret);
}

/** Restart SaveAny, and wait until it answers again. */
export async function restart() {
  await post("config/restart");
  await untilItAnswers(true);
}

/** Wait until SaveAny answers as a whole; after a `restart` only once it has been away. */
export async function untilItAnswers(/** @type {boolean} */ isRestarting) {
  let wasAway = !isRestarting;
  for (let tries = 0; tries < 180; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    try {
      const reply = await fetch("health");
      const isUp = reply.ok && (await reply.json()).status === "ok";
      if (isUp && wasAway) return;
      wasAway ||= !isUp;
    } catch {
      wasAway = true;
    }
  }
  throw new ApiError(t("SaveAny does not answer. Is it running, and are you online?"), 0);
}

/** End the session. */
export async function logOut() {
  await remove("session");
  session.value = null;
}

/** Whether the caller may change what this scope is for. */
export function may(/** @type {string} */ scope) {
  const who = session.value;
  return Boolean(who && (who.is_operator || who.scopes.includes(scope)));
}

function queryText(query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/** A message of the API as a sentence. */
function sentence(/** @type {string} */ text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}
