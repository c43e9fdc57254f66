// Chats that are recorded whenever they go live, and their recordings.
import { useState } from "preact/hooks";
import { all, get, may, post, remove, session } from "../api.js";
import { bytes, duration, place, time } from "../format.js";
import { to } from "../router.js";
import { plural, t } from "../texts.js";
import { ChatField, FormDialog, PlaceFields } from "./chatfields.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Preview } from "./preview.js";
import { Button, Choice, confirm, Failure, Loading, Tag, tell, useLoaded, usePolling } from "./ui.js";

const REFRESH_MS = 10_000;
/** Number of recordings that are shown at first, and that each press of "Show more" adds. */
const PAGE = 20;

/** Both sections. They load anew when `changes` does. */
export function LiveStreams({ changes }) {
  const [watches, error, reload] = useLoaded((stop) => get("live", {}, stop).then((found) => found.live), [changes]);
  usePolling(true, reload, REFRESH_MS);
  if (error && !watches) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!watches) return html`<${Loading} rows=${2} />`;
  const live = watches.map((each) => each.task_id).filter(Boolean);
  return html`<section><header class="section"><h2>${t("Live streams")}</h2>
      <a class="button" href="#/chats?live"><${Icon} name="video" /><span>${t("Record live streams")}</span></a></header>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${watches.length
      ? html`<ul class="rows">${watches.map((each) => html`<${Watch} key=${each.id} watch=${each} reload=${reload} />`)}</ul>`
      : html`<p class="dim">${t("No chat is recorded when it goes live.")}</p>`}</section>
    <${Recordings} live=${live.join()} />`;
}

function Watch({ watch, reload }) {
  const { title } = watch;
  const end = async () => {
    if (!(await confirm(t("Record {name} no longer?", { name: title }), t("A recording that runs goes on, and the recordings stay."), t("Remove")))) return;
    await remove(`live/${watch.id}`);
    reload();
  };
  const facts = [watch.chat, watch.storage ? place(watch.storage, watch.dir_path) : watch.dir_path,
    session.value.user_id === null && t("user {id}", { id: watch.user_id })];
  return html`<li class="entry"><div class="entry-main">
      <span class="row-name"><bdi>${title}</bdi><small><bdi>${facts.filter(Boolean).join(" · ")}</bdi></small></span>
      <${Tag} kind=${watch.is_live ? "main" : ""}>${watch.is_live ? t("Live now") : t("Not live")}</${Tag}></div>
    ${watch.is_live && html`<p class="dim archive-sum">${[t("since {time}", { time: time(watch.started_at) }), plural("{n} viewer", "{n} viewers", watch.viewers ?? 0)].join(" · ")}</p>`}
    ${watch.problem && html`<p class="problem"><${Icon} name="warning" />${watch.problem}</p>`}
    <div class="buttons">${watch.task_id && html`<${ToTask} name=${title} />`}
      <${Button} icon="trash" label=${t("Remove")} aria-label=${`${t("Remove")}: ${title}`} action=${end} /></div></li>`;
}

/** A link to where the running task is stopped or canceled. */
function ToTask({ name }) {
  return html`<a class="button" href=${to("now")} aria-label=${`${t("Show the task")}: ${name}`}><${Icon} name="now" /><span>${t("Show the task")}</span></a>`;
}

/** The recordings, newest first. `live` changes when a stream begins or ends. */
function Recordings({ live }) {
  const [wanted, setWanted] = useState({ from: "", to: "", chat: "" });
  const [count, setCount] = useState(PAGE);
  const [shown, setShown] = useState(null);
  const change = (fields) => {
    setWanted((before) => ({ ...before, ...fields }));
    setCount(PAGE);
  };
  const [found, error, reload] = useLoaded(() => all("recordings", "recordings", { from: moment(wanted.from, "00:00:00.000"), to: moment(wanted.to, "23:59:59.999"), limit: 200 })
    .then((list) => list.reverse()), [live, wanted.from, wanted.to]);
  usePolling(Boolean(live) || Boolean(found?.some(isRunning)), reload, REFRESH_MS);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} rows=${2} />`;
  const chats = new Map(found.map((each) => [String(each.chat_id), each.title]));
  const chosen = found.filter((each) => !wanted.chat || String(each.chat_id) === wanted.chat);
  const isFiltered = wanted.from || wanted.to || wanted.chat;
  if (!found.length && !isFiltered) return null;
  const open = async (recording, number) => {
    const file = await get(`files/${recording.files[number].file_id}`);
    setShown({ file, task: recording.task_id, number });
  };
  const opened = shown && found.find((each) => each.task_id === shown.task);
  const step = (by) => opened?.files[shown.number + by] && (() => open(opened, shown.number + by).catch((each) => tell(each.message, "bad")));
  return html`<section><header class="section"><h2>${t("Recordings")}</h2></header>
    <div class="tools"><label class="choice"><span>${t("From")}</span> <input type="date" value=${wanted.from} onInput=${(event) => change({ from: event.target.value })} /></label>
      <label class="choice"><span>${t("Until")}</span> <input type="date" value=${wanted.to} onInput=${(event) => change({ to: event.target.value })} /></label>
      ${(chats.size > 1 || wanted.chat) && html`<${Choice} hidden label=${t("Chat")} value=${wanted.chat} options=${[["", t("All chats")], ...chats]} onChange=${(chat) => change({ chat })} />`}</div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${chosen.length
      ? html`<ul class="rows">${chosen.slice(0, count).map((each) => html`<${Recording} key=${each.task_id} recording=${each} open=${() => open(each, 0)} />`)}</ul>`
      : html`<p class="dim">${t("No recording began on these days.")}</p>`}
    ${chosen.length > count && html`<p class="buttons"><${Button} label=${t("Show more")} action=${() => setCount(count + PAGE)} /></p>`}
    ${opened && html`<${Preview} file=${shown.file} close=${() => setShown(null)} next=${step(1)} previous=${step(-1)}>
      <a class="button" href=${to("library", { q: shown.file.name })}><${Icon} name="library" /><span>${t("Show in the library")}</span></a></${Preview}>`}</section>`;
}

function Recording({ recording, open }) {
  const { files, title } = recording;
  const size = files.reduce((sum, each) => sum + each.size, 0);
  const name = `${title}, ${time(recording.started_at)}`;
  const facts = [time(recording.started_at), duration(recording.seconds), bytes(size), files.length > 1 && plural("{n} file", "{n} files", files.length), recording.chat];
  return html`<li class="entry"><div class="entry-main">
      <span class="row-name"><bdi>${title}</bdi><small><bdi>${facts.filter(Boolean).join(" · ")}</bdi></small></span>
      ${isRunning(recording) && html`<${Tag} kind="main">${t("Recording")}</${Tag}>`}</div>
    <div class="buttons">${may("files") && html`<${Button} icon="resume" label=${t("Play")} aria-label=${`${t("Play")}: ${name}`} action=${open} />`}
      ${isRunning(recording) && html`<${ToTask} name=${name} />`}</div></li>`;
}

function isRunning(recording) {
  return ["queued", "running"].includes(recording.status);
}

/** A time of a day here, as the API takes it; empty without a day. */
function moment(/** @type {string} */ day, /** @type {string} */ at) {
  return day ? new Date(`${day}T${at}`).toISOString() : "";
}

/** The form for a chat whose live streams are recorded. */
export function NewLive({ close }) {
  return html`<${FormDialog} title=${t("Record live streams")} close=${close} form=${Form} />`;
}

function Form({ users, close }) {
  const [form, setForm] = useState({ chat: "", user: String(users[0]?.user_id ?? ""), storage: "", folder: "" });
  const change = (fields) => setForm((before) => ({ ...before, ...fields }));
  const add = async () => {
    const made = await post("live", {
      chat: form.chat.trim(),
      ...(form.user ? { user_id: Number(form.user) } : {}),
      storage: form.storage,
      dir_path: form.folder.trim(),
    });
    tell(t("{name} is recorded whenever it is live", { name: made.title }));
    close();
  };
  return html`<form class="stack" onSubmit=${(event) => event.preventDefault()}>
    <p class="dim">${t("Each stream becomes a task and a video in your storage, also one that goes on now. Calls of people without a stream cannot be recorded.")}</p>
    <${ChatField} value=${form.chat} onChange=${(chat) => change({ chat })} />
    <div class="fields"><${PlaceFields} users=${users} form=${form} change=${change} />
      <label class="field"><span>${t("Folder")}</span><input value=${form.folder} dir="auto" onInput=${(event) => change({ folder: event.target.value })} /></label></div>
    <footer><${Button} label=${t("Cancel")} action=${close} />
      <${Button} kind="main" icon="video" label=${t("Record")} disabled=${!form.chat.trim()} action=${add} /></footer></form>`;
}
