// One box for links of every kind: what would be saved, where, and then the tasks.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, may, post } from "../api.js";
import { draft, keepDraft } from "../draft.js";
import { bytes, place } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { ListForm } from "../parts/listform.js";
import { TYPES } from "../parts/tasktypes.js";
import { Button, Choice, Empty, Failure, Loading, Tag, tell, useLoaded } from "../parts/ui.js";
import { Uploads } from "../parts/uploads.js";
import { go, to } from "../router.js";
import { plural, t } from "../texts.js";

const PREVIEW_DELAY_MS = 600;
const AT_ONCE = 3;
const MAX_LINES = 100;
const SHOWN_FILES = 20;
/** A link to a chat instead of one of its messages. */
const WHOLE_CHAT = /^(?:https?:\/\/)?(?:www\.)?(?:t|telegram)\.me\/(?:c\/\d+|[a-z]\w{3,31})(?:\?.*)?\/?$/i;

export default function Add() {
  const [users, error, reload] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  if (error && !users) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!users) return html`<${Loading} />`;
  if (!users.length) {
    return html`<${Empty} icon="user" title=${t("There is no user")}><p>${t("Add a user to the configuration: whoever saves files must be one.")}</p></${Empty}>`;
  }
  return html`<${Form} users=${users} />`;
}

function Form({ users }) {
  const [form, setForm] = useState(() => ({ text: "", storage: "", folder: "", name: "", conflict: "", duplicate: "", priority: "0", type: "", webhook: "", source: "", pattern: "", user: String(users[0].user_id), ...draft() }));
  const [results, setResults] = useState({});
  const [types] = useLoaded((stop) => get("task-types", {}, stop).then((found) => found.details.filter((each) => each.available)));
  const [areSet] = useState(() => Boolean(form.type || form.webhook || form.name));
  const user = users.find((each) => String(each.user_id) === form.user) ?? users[0];
  const isTransfer = form.type === "transfer";
  const lines = linesOf(form.text);
  const previews = usePreviews(lines, options(form, user));
  function change(fields) {
    setForm((before) => ({ ...before, ...fields }));
    keepDraft(fields);
  }
  async function save() {
    const refused = {};
    let count = 0;
    for (let start = 0; start < lines.length; start += AT_ONCE) {
      await Promise.all(lines.slice(start, start + AT_ONCE).map(async (line) => {
        const body = bodyOf(line, options(form, user));
        try {
          await post("tasks", body, { "Idempotency-Key": keyOf(body) });
          count += 1;
          forgetKey(body);
        } catch (problem) {
          refused[line] = problem.message;
        }
      }));
    }
    setResults(refused);
    change({ text: Object.keys(refused).join("\n"), ...(Object.keys(refused).length ? {} : { type: "", name: "" }) });
    if (count) tell(plural("{n} task added", "{n} tasks added", count));
    if (count && !Object.keys(refused).length) go(to("now"));
  }
  return html`<form class="add" onSubmit=${(event) => event.preventDefault()}>
    <label class="field"><span>${isTransfer ? t("Files and folders, one per line (/ for all)") : t("Links, one per line")}</span>
      <textarea rows="4" value=${form.text} autofocus spellcheck=${false} autocapitalize="off" dir="ltr"
        placeholder=${isTransfer ? "films/2024" : "https://t.me/channel/123"} onInput=${(event) => change({ text: event.target.value })}
        onKeyDown=${(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && save()}></textarea></label>
    <div class="fields">
      ${users.length > 1 && html`<${Choice} label=${t("For user")} value=${form.user} options=${users.map((each) => [String(each.user_id), String(each.user_id)])} onChange=${(value) => change({ user: value, storage: "", source: "" })} />`}
      ${isTransfer && html`<${Choice} label=${t("From storage")} value=${form.source || user.storage} options=${user.storages.map((name) => [name, name])} onChange=${(source) => change({ source })} />
        <label class="field"><span>${t("Only files such as (empty: all)")}</span><input value=${form.pattern} placeholder="*.mkv" spellcheck=${false}
          onInput=${(event) => change({ pattern: event.target.value })} /></label>`}
      <${Choice} label=${t("Storage")} value=${form.storage} onChange=${(storage) => change({ storage })}
        options=${[["", t("By my rules, else {name}", { name: user.storage })], ...user.storages.map((name) => [name, name])]} />
      <label class="field"><span>${t("Folder")}</span><input value=${form.folder} placeholder=${t("By my rules, else {name}", { name: user.folder })}
        dir="auto" onInput=${(event) => change({ folder: event.target.value })} /></label>
    </div>
    <details class="options" open=${areSet}><summary>${t("More options")}</summary><div class="fields">
      <${Choice} label=${t("If the name is taken")} value=${form.conflict} onChange=${(conflict) => change({ conflict })}
        options=${[["", t("As in my settings")], ["rename", t("Choose another name")], ["overwrite", t("Replace the file")], ["skip", t("Skip the file")]]} />
      <${Choice} label=${t("If it was saved before")} value=${form.duplicate} onChange=${(duplicate) => change({ duplicate })}
        options=${[["", t("As in my settings")], ["save", t("Save it again")], ["skip", t("Skip the file")], ["link", t("List the same copy twice")]]} />
      <${Choice} label=${t("Priority")} value=${form.priority} onChange=${(priority) => change({ priority })}
        options=${[["100", t("Before all others")], ["0", t("Normal")], ["-100", t("After all others")]]} />
      <${Choice} label=${t("Source")} value=${form.type} onChange=${(type) => change({ type })}
        options=${[["", t("Chosen by the link")], ...(types ?? []).map((each) => [each.type, TYPES[each.type]?.() ?? each.title])]} />
      <label class="field"><span>${t("File name (several files are numbered)")}</span><input value=${form.name} placeholder=${t("That of the source")} dir="auto"
        maxlength="1024" onInput=${(event) => change({ name: event.target.value })} /></label>
      <label class="field"><span>${t("Webhook when it ends (address)")}</span><input type="url" value=${form.webhook} placeholder="https://example.com/hook"
        spellcheck=${false} dir="ltr" onInput=${(event) => change({ webhook: event.target.value.trim() })} /></label>
    </div></details>
    <div class="submit"><${Button} kind="main" icon="download" disabled=${!lines.length}
      label=${lines.length > 1 ? plural("Save {n} link", "Save {n} links", lines.length) : t("Save")} action=${save} />
      <${Total} previews=${previews} lines=${lines} /></div>
    ${may("files") && html`<${Uploads} fields=${uploadFields(form, user)} />`}
    ${!isTransfer && html`<${ListForm} options=${options(form, user)} />`}
    ${lines.map((line) => html`<${Preview} key=${line} line=${line} found=${previews[line]} refused=${results[line]} />`)}
  </form>`;
}

function linesOf(/** @type {string} */ text) {
  return [...new Set(text.split(/\s*\n\s*|\s+(?=https?:\/\/|magnet:)/).map((line) => line.trim()).filter(Boolean))].slice(0, MAX_LINES);
}

/** The body of the request for a line. That of a transfer names what to read in `params`. */
function bodyOf(/** @type {string} */ line, /** @type {any} */ { params, ...same }) {
  if (!params) return { url: line, ...same };
  const { storage_name: storage, dir_path: path, webhook_url: webhook, ...others } = same;
  return { ...others, storage, path, webhook, params: { ...params, source_path: line } };
}

/** The fields of the request that are the same for all lines. */
function options(form, user) {
  return {
    user_id: user.user_id,
    ...(form.type ? { type: form.type } : {}),
    ...(form.type === "transfer" ? { params: { source_storage: form.source || user.storage, pattern: form.pattern } } : {}),
    ...(form.webhook ? { webhook_url: form.webhook } : {}),
    ...(form.storage ? { storage_name: form.storage } : {}),
    ...(form.folder ? { dir_path: form.folder.startsWith("/") ? form.folder : `/${form.folder}` } : {}),
    ...(form.name.trim() ? { filename: form.name.trim() } : {}),
    ...(form.conflict ? { on_conflict: form.conflict } : {}),
    ...(form.duplicate ? { on_duplicate: form.duplicate } : {}),
    ...(form.priority !== "0" ? { priority: Number(form.priority) } : {}),
  };
}

/** The fields of an upload. */
function uploadFields(form, user) {
  const { dir_path: folder, priority, ...fields } = options({ ...form, type: "", webhook: "", name: "" }, user);
  return folder ? { ...fields, folder } : fields;
}

/** @type {Map<string, string>} */
const keys = new Map();

/** The same request, sent again after a lost connection, becomes no second task. */
function keyOf(/** @type {object} */ body) {
  const text = JSON.stringify(body);
  if (!keys.has(text)) keys.set(text, `web-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("")}`);
  return keys.get(text);
}

function forgetKey(/** @type {object} */ body) {
  keys.delete(JSON.stringify(body));
}

/** What each line would save, asked for when the reader has stopped typing. */
function usePreviews(lines, request) {
  const [found, setFound] = useState({});
  const [asked, setAsked] = useState("");
  const text = JSON.stringify([lines, request]);
  const known = useRef(new Map());
  useEffect(() => {
    const timer = setTimeout(() => setAsked(text), PREVIEW_DELAY_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    if (!asked) return undefined;
    const [wanted, same] = JSON.parse(asked);
    const stop = new AbortController();
    const todo = [...wanted];
    const work = async () => {
      for (let line = todo.shift(); line && !stop.signal.aborted; line = todo.shift()) {
        const key = JSON.stringify([line, same]);
        if (!known.current.has(key)) {
          /** @type {any} */
          const result = await post("resolve", bodyOf(line, same)).catch((error) => ({ error }));
          if (!result.error || result.error.status) known.current.set(key, result);
        }
        const result = known.current.get(key);
        if (!stop.signal.aborted && result) setFound((before) => ({ ...before, [line]: result }));
      }
    };
    for (let i = 0; i < AT_ONCE; i += 1) work();
    return () => stop.abort();
  }, [asked]);
  return found;
}

function Total({ previews, lines }) {
  const all = lines.map((line) => previews[line]).filter((each) => each && !each.error);
  if (!all.length) return null;
  const files = all.reduce((sum, each) => sum + each.total_files, 0);
  const size = all.reduce((sum, each) => sum + each.total_bytes, 0);
  return html`<span class="dim number">${plural("{n} file", "{n} files", files)}, ${bytes(size)}</span>`;
}

function Preview({ line, found, refused }) {
  const problem = refused ?? found?.error?.message;
  const isChat = found?.type === "archive" || (problem && WHOLE_CHAT.test(line));
  return html`<section class=${`preview${problem ? " refused" : ""}`}>
    <header><bdi class="preview-link">${line}</bdi>
      ${!problem && found && html`<span class="dim number">${plural("{n} file", "{n} files", found.total_files)}, ${bytes(found.total_bytes)}</span>`}</header>
    ${problem && html`<p class="problem" role="alert"><${Icon} name="warning" />${problem}</p>`}
    ${isChat && html`<p><a class="button main" href=${to("chats", { add: line })}><${Icon} name="chats" /><span>${t("Archive the whole chat")}</span></a></p>`}
    ${!problem && !found && html`<p class="dim">${t("Looking up the link")} …</p>`}
    ${!problem && found && html`<ul class="items">${found.files.slice(0, SHOWN_FILES).map((file) => html`<li key=${file.path}>
      <${Icon} name=${file.type} /><bdi class="item-name">${file.name}</bdi><span class="number">${bytes(file.size)}</span>
      <bdi class="dim">${place(file.storage, file.path.slice(0, file.path.lastIndexOf("/") + 1))}</bdi>
      ${file.duplicate && html`<${Tag} kind="warn">${t("saved before as {name}", { name: file.duplicate.name })}</${Tag}>`}
      ${file.error && html`<span class="bad">${file.error}</span>`}</li>`)}</ul>
      ${found.total_files > SHOWN_FILES && html`<p class="dim">${plural("{n} more file", "{n} more files", found.total_files - SHOWN_FILES)}</p>`}`}
  </section>`;
}
