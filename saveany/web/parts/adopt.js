// An archive of a chat whose files another program has saved: first what would be adopted, then the archive.
import { useRef, useState } from "preact/hooks";
import { postFile } from "../api.js";
import { bytes, place } from "../format.js";
import { plural, t } from "../texts.js";
import { ChatField, FormDialog, PlaceFields } from "./chatfields.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, Tag, tell } from "./ui.js";

const SHOWN_FILES = 20;

export function Adopt({ close }) {
  return html`<${FormDialog} title=${t("Archive a chat with files you have")} close=${close} form=${Form} />`;
}

function Form({ users, close }) {
  const [form, setForm] = useState({ chat: "", user: String(users[0]?.user_id ?? ""), storage: "", folder: "", account: "", follow: false });
  const [exported, setExported] = useState(/** @type {File | null} */ (null));
  const [tried, setTried] = useState(null);
  const input = useRef(null);
  const change = (fields) => {
    setForm((before) => ({ ...before, ...fields }));
    setTried(null);
  };
  const choose = (/** @type {File | null} */ file) => {
    setExported(file);
    setTried(null);
  };
  const send = (trial) => postFile("archives/adopt", {
    chat: form.chat.trim(),
    dir_path: form.folder.trim(),
    storage: form.storage,
    user_id: form.user,
    account: form.account.trim(),
    follow: form.follow || "",
    trial: trial || "",
  }, exported);
  const adopt = async () => {
    const { archive } = await send(false);
    tell(t("{name} is being archived", { name: archive.title }));
    close();
  };
  const isReady = form.chat.trim() && form.folder.trim();
  return html`<form class="stack" onSubmit=${(event) => event.preventDefault()}>
    <p class="dim">${t("For files of a chat that another program has saved, such as Telegram Desktop or tdl: only the rest is fetched, into the same folder. Nothing in it is moved or changed.")}</p>
    <${ChatField} value=${form.chat} onChange=${(chat) => change({ chat })} />
    <div class="fields">
      <${PlaceFields} users=${users} form=${form} change=${change} />
      <label class="field"><span>${t("Folder with the files")}</span><input value=${form.folder} dir="auto" placeholder="old/channel" onInput=${(event) => change({ folder: event.target.value })} /></label></div>
    <div class="field"><span id="export">${t("Export of the chat, if you have one (result.json)")}</span>
      <input ref=${input} type="file" accept=".json,application/json" hidden aria-labelledby="export" onChange=${(event) => choose(event.target.files[0] ?? null)} />
      <div class="buttons"><${Button} icon="up" label=${exported ? t("Choose another file") : t("Choose a file")} action=${() => input.current.click()} />
        ${exported && html`<span class="chosen"><bdi>${exported.name}</bdi> <span class="dim number">${bytes(exported.size)}</span></span>`}</div>
      <p class="hint">${t("It says which file belongs to which message. Without it, the names of the files may say so; all others are compared by size and content.")}</p></div>
    <label class="check"><input type="checkbox" checked=${form.follow} onChange=${(event) => setForm({ ...form, follow: event.target.checked })} /> ${t("Also save new messages from then on")}</label>
    <details class="options"><summary>${t("More options")}</summary><div class="fields">
      <label class="field"><span>${t("User account (empty: any that can read the chat)")}</span><input value=${form.account} onInput=${(event) => change({ account: event.target.value })} /></label></div></details>
    ${tried && html`<${Found} tried=${tried} />`}
    <footer><${Button} label=${t("Cancel")} action=${close} />
      <${Button} kind=${tried ? "" : "main"} icon="search" label=${t("See what would be adopted")} disabled=${!isReady} action=${async () => setTried(await send(true))} />
      ${tried && html`<${Button} kind="main" icon="download" label=${t("Archive")} action=${adopt} />`}</footer></form>`;
}

/** What a trial has found. */
function Found({ tried }) {
  const start = tried.dir_path === "/" ? 0 : tried.dir_path.length + 1;
  const rest = tried.files - Math.min(tried.examples.length, SHOWN_FILES);
  return html`<section class="card" role="status"><h2><bdi>${tried.title}</bdi></h2>
    <p class="dim">${place(tried.storage, tried.dir_path)}</p>
    ${tried.truncated && html`<p class="problem"><${Icon} name="warning" />${t("The export ends in the middle; what is before its end is used.")}</p>`}
    <p>${plural("{n} file", "{n} files", tried.files)}, ${bytes(tried.bytes)}. ${plural("{n} belongs to a known message; the others are compared by size and content.", "{n} belong to known messages; the others are compared by size and content.", tried.known)}</p>
    ${!tried.files && html`<p class="problem"><${Icon} name="warning" />${t("This folder has no files: everything would be fetched.")}</p>`}
    ${tried.files > 0 && html`<ul class="choices">${tried.examples.slice(0, SHOWN_FILES).map((each) => html`<li key=${`${each.path} ${each.message}`}><span>
      <bdi>${each.path.slice(start)}</bdi><span class="number dim">${bytes(each.size)}</span>
      ${each.message ? html`<${Tag} kind="good">${t("message {id}", { id: each.message })}</${Tag}>` : html`<${Tag}>${t("to be compared")}</${Tag}>`}</span></li>`)}</ul>`}
    ${rest > 0 && html`<p class="dim">${plural("{n} more file", "{n} more files", rest)}</p>`}</section>`;
}
