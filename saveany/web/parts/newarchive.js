// The form for a new archive: what the chat contains is shown before anything is saved.
import { useState } from "preact/hooks";
import { post } from "../api.js";
import { bytes, time } from "../format.js";
import { plural, t } from "../texts.js";
import { ChatField, FormDialog, PlaceFields } from "./chatfields.js";
import { FilterFields, KINDS, NO_FILTER, filterOf } from "./filterfields.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, Choice, tell } from "./ui.js";

/** What else of a message can be saved. */
const EXTRAS = {
  preview: () => t("Files in previews of links"),
  cover: () => t("Covers of videos"),
  live_video: () => t("Videos of live photos"),
  instant_view: () => t("Files in instant views of links"),
};
/** Options that are on or off. */
const OPTIONS = {
  topics: () => t("Each topic of a forum in a folder of its own"),
  comments: () => t("Files in the comments on the posts of a channel"),
  stories: () => t("Current and pinned stories of a channel"),
  profile_photos: () => t("Current and earlier profile photos"),
  text: () => t("The texts of all messages, as files"),
  takeout: () => t("Read as an export, which Telegram limits less; it asks for your permission in the app"),
};

export function NewArchive({ chat, close }) {
  return html`<${FormDialog} title=${t("Archive a chat")} close=${close} form=${Form} chat=${chat} />`;
}

function Form({ users, chat, close }) {
  const [form, setForm] = useState({ chat, user: String(users[0]?.user_id ?? ""), storage: "", folder: "", from: "first", start: "", until: "", follow: false, account: "", filter: NO_FILTER,
    extras: [], topics: true, comments: false, stories: false, profile_photos: false, text: false, takeout: false, copy: "auto", edits: "ignore", duplicate: "link" });
  const [contents, setContents] = useState(null);
  const change = (fields) => {
    setForm((before) => ({ ...before, ...fields }));
    if ("chat" in fields || "storage" in fields || "account" in fields || "user" in fields) setContents(null);
  };
  const toggle = (extra) => change({ extras: form.extras.includes(extra) ? form.extras.filter((each) => each !== extra) : [...form.extras, extra] });
  const add = async () => {
    const made = await post("archives", body(form));
    tell(t("{name} is being archived", { name: made.title }));
    close();
  };
  return html`<form class="stack" onSubmit=${(event) => event.preventDefault()}>
    <${ChatField} value=${form.chat} onChange=${(text) => change({ chat: text })} />
    <div class="fields">
      <${PlaceFields} users=${users} form=${form} change=${change} />
      <label class="field"><span>${t("Folder")}</span><input value=${form.folder} dir="auto" onInput=${(event) => change({ folder: event.target.value })} /></label>
      <${Choice} label=${t("Begin with")} value=${form.from} onChange=${(from) => change({ from, start: "" })}
        options=${[["first", t("the first message")], ["date", t("a date")], ["message", t("the number of a message")], ["now", t("only new messages")]]} />
      ${["date", "message"].includes(form.from) && html`<label class="field"><span>${form.from === "date" ? t("Date") : t("Number of the message")}</span>
        <input type=${form.from === "date" ? "date" : "text"} inputmode=${form.from === "message" ? "numeric" : undefined} value=${form.start} onInput=${(event) => change({ start: event.target.value })} /></label>`}
    </div>
    ${form.from !== "now" && html`<label class="check"><input type="checkbox" checked=${form.follow} disabled=${Boolean(form.until)} onChange=${(event) => change({ follow: event.target.checked })} /> ${t("Also save new messages from then on")}</label>`}
    <details class="options"><summary>${t("More options")}</summary><div class="stack-gap">
      <${FilterFields} form=${form.filter} change=${(fields) => change({ filter: { ...form.filter, ...fields } })} />
      <fieldset class="checks"><legend>${t("Also save")}</legend><div class="check-list">
        ${Object.entries(OPTIONS).map(([name, label]) => html`<label key=${name}><input type="checkbox" checked=${form[name]} onChange=${(event) => change({ [name]: event.target.checked })} /> ${label()}</label>`)}
        ${Object.entries(EXTRAS).map(([name, label]) => html`<label key=${name}><input type="checkbox" checked=${form.extras.includes(name)} onChange=${() => toggle(name)} /> ${label()}</label>`)}</div></fieldset>
      <div class="fields"><${Choice} label=${t("If a file was saved before")} value=${form.duplicate} onChange=${(duplicate) => change({ duplicate })}
          options=${[["link", t("List the same copy twice")], ["save", t("Save it again")], ["skip", t("Skip the file")]]} />
        <${Choice} label=${t("If a file is replaced later")} value=${form.edits} onChange=${(edits) => change({ edits })} options=${[["ignore", t("Keep the first one")], ["add", t("Save the new one, too")]]} />
        <${Choice} label=${t("Into a chat of Telegram")} value=${form.copy} onChange=${(copy) => change({ copy })}
          options=${[["auto", t("Copy there, or else download and upload")], ["reference", t("Only copy there")], ["bytes", t("Always download and upload")]]} /></div>
      <div class="fields"><label class="field"><span>${t("Leave out messages from this date on")}</span><input type="date" value=${form.until} onInput=${(event) => change({ until: event.target.value })} /></label>
      <label class="field"><span>${t("User account (empty: any that can read the chat)")}</span><input value=${form.account} onInput=${(event) => change({ account: event.target.value })} /></label></div></div></details>
    ${contents && html`<${Contents} contents=${contents} />`}
    <footer><${Button} label=${t("Cancel")} action=${close} />
      <${Button} kind=${contents ? "" : "main"} icon="search" label=${t("See what it contains")} disabled=${!form.chat.trim()} action=${async () => setContents(await post("archives/estimate", body(form)))} />
      ${contents && html`<${Button} kind="main" icon="download" label=${t("Archive")} disabled=${needsStart(form)} action=${add} />`}</footer></form>`;
}

function needsStart(form) {
  return ["date", "message"].includes(form.from) && !form.start.trim();
}

/** The body of the request for an archive. */
function body(form) {
  return {
    chat: form.chat.trim(),
    ...(form.user ? { user_id: Number(form.user) } : {}),
    storage: form.storage,
    dir_path: form.folder,
    start: ["date", "message"].includes(form.from) ? form.start.trim() || "first" : form.from,
    until: form.until,
    follow: form.from === "now" || (form.follow && !form.until),
    account: form.account.trim(),
    filter: filterOf(form.filter),
    topics: form.topics,
    comments: form.comments,
    stories: form.stories,
    profile_photos: form.profile_photos,
    text: form.text,
    takeout: form.takeout,
    extras: form.extras,
    on_duplicate: form.duplicate,
    on_edit: form.edits,
    copy: form.copy,
  };
}

function Contents({ contents }) {
  const isTooSmall = contents.free_bytes !== null && contents.bytes > contents.free_bytes;
  const kinds = Object.entries(contents.kinds).filter(([, sum]) => sum.files);
  return html`<section class="card" role="status"><h2><bdi>${contents.title}</bdi></h2>
    <p class="dim">${[plural("{n} message", "{n} messages", contents.messages), contents.first_at && `${time(contents.first_at)} – ${time(contents.last_at)}`].filter(Boolean).join(" · ")}</p>
    ${kinds.length > 0 && html`<table><tbody>${kinds.map(([kind, sum]) => html`<tr key=${kind}><th scope="row">${KINDS[kind]?.() ?? kind}</th><td class="number">${sum.files.toLocaleString()}</td><td class="number">${bytes(sum.bytes)}</td></tr>`)}
      <tr><th scope="row">${t("All together, about")}</th><td></td><td class="number">${bytes(contents.bytes)}</td></tr></tbody></table>`}
    ${!kinds.length && html`<p>${t("This chat has no files.")}</p>`}
    <p class=${isTooSmall ? "problem" : "dim"}>${isTooSmall && html`<${Icon} name="warning" />`}${contents.free_bytes === null
      ? t("The free space of {name} is not known.", { name: contents.storage })
      : t("{name} has {size} free.", { name: contents.storage, size: bytes(contents.free_bytes) })}</p></section>`;
}
