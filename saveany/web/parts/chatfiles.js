// Looking into a chat: the chats of an account, and the files of one, to be chosen and saved.
import { useEffect, useState } from "preact/hooks";
import { download, get, post, session } from "../api.js";
import { bytes, time } from "../format.js";
import { to } from "../router.js";
import { plural, t } from "../texts.js";
import { FilterFields, KINDS, NO_FILTER, filterOf } from "./filterfields.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { useSelection } from "./selection.js";
import { Button, Choice, Dialog, Failure, Loading, Tag, tell, useLoaded } from "./ui.js";

const CHAT_KINDS = {
  channel: () => t("Channel"),
  group: () => t("Group"),
  person: () => t("Person"),
  bot: () => t("Bot"),
  saved: () => t("Saved Messages"),
};
/** Chats of which the list shows the first. */
const MAX_SHOWN = 200;

/** @param {{chat: string, close: () => void}} props */
export function ChatFiles({ chat, close }) {
  const [users, error, reload] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  const [opened, setOpened] = useState({ chat, account: "" });
  return html`<${Dialog} title=${t("Look into a chat")} close=${close} wide><div class="stack">
    ${error ? html`<${Failure} error=${error} retry=${reload} />` : !users ? html`<${Loading} />`
      : opened.chat ? html`<${Files} key=${opened.chat} opened=${opened} users=${users} back=${() => setOpened({ chat: "", account: "" })} close=${close} />`
        : html`<${ChooseChat} users=${users} open=${setOpened} />`}</div></${Dialog}>`;
}

/** The names of the accounts whose chats the reader may list. */
async function ownAccounts(users, stop) {
  if (!session.value.is_operator) return [...new Set(users.flatMap((each) => each.accounts))];
  const { accounts } = await get("accounts", {}, stop);
  return accounts.filter((each) => !each.is_bot && each.ready).map((each) => each.name);
}

function ChooseChat({ users, open }) {
  const [link, setLink] = useState("");
  const [account, setAccount] = useState("");
  const [text, setText] = useState("");
  const [accounts] = useLoaded((stop) => ownAccounts(users, stop));
  const name = account || accounts?.[0] || "";
  const [chats, error, reload] = useLoaded((stop) => (name ? get("chats", { account: name }, stop).then((found) => found.chats) : Promise.resolve(null)), [name]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = (chats ?? []).filter((each) => words.every((word) => `${each.title} ${each.chat}`.toLowerCase().includes(word)));
  return html`<form class="inline" onSubmit=${(event) => (event.preventDefault(), link.trim() && open({ chat: link.trim(), account: "" }))}>
      <label class="field grow"><span>${t("Channel or group: a link, @name or id")}</span><input value=${link} autofocus dir="ltr" spellcheck=${false} autocapitalize="off" placeholder="https://t.me/channel" onInput=${(event) => setLink(event.target.value)} /></label>
      <button class="button main" disabled=${!link.trim()}>${t("Open")}</button></form>
    ${accounts?.length > 1 && html`<${Choice} label=${t("Chats of the account")} value=${name} options=${accounts.map((each) => [each, each])} onChange=${setAccount} />`}
    ${accounts && !accounts.length && html`<p class="dim">${t("No user account of yours is logged in, so that your chats cannot be listed.")}</p>`}
    ${name && error && html`<${Failure} error=${error} retry=${reload} />`}
    ${name && !chats && !error && html`<${Loading} />`}
    ${chats && html`<label class="search"><span class="unseen">${t("Search chats")}</span><${Icon} name="search" /><input type="search" value=${text} placeholder=${t("Search chats")} onInput=${(event) => setText(event.target.value)} /></label>
      <ul class="choices">${found.slice(0, MAX_SHOWN).map((each) => html`<li key=${each.chat}><button type="button" onClick=${() => open({ chat: each.chat, account: name })}>
        <${Icon} name="chats" /><bdi>${each.title}</bdi><${Tag}>${CHAT_KINDS[each.kind]()}</${Tag}><span class="dim">${each.last_at ? time(each.last_at) : ""}</span></button></li>`)}
        ${!found.length && html`<li class="dim">${t("No chat matches")}</li>`}</ul>
      ${found.length > MAX_SHOWN && html`<p class="dim">${t("Search to see the others.")}</p>`}`}`;
}

function Files({ opened, users, back, close }) {
  const [form, setForm] = useState(NO_FILTER);
  const [asked, setAsked] = useState(NO_FILTER);
  const [target, setTarget] = useState({ user: String(users[0]?.user_id ?? ""), storage: "", folder: "" });
  const user = users.find((each) => String(each.user_id) === target.user) ?? users[0];
  const [pages, setPages] = useState({ title: "", rows: [], next: undefined, withheld: 0 });
  const [error, setError] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const rows = pages.rows;
  const selection = useSelection(rows.filter((each) => each.link).map((each) => each.link));
  const read = async (before) => {
    setBusy(true);
    try {
      const found = await post("chats/files", { chat: opened.chat, account: opened.account, user_id: user?.user_id, filter: filterOf(asked), before });
      setError(null);
      setPages((now) => ({ title: found.title, rows: before ? [...now.rows, ...found.files] : found.files, next: found.next_before, withheld: found.withheld + (before ? now.withheld : 0) }));
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  useEffect(() => {
    read(0);
  }, [asked]);
  const save = async () => {
    const links = rows.map((each) => each.link).filter((each) => selection.ids.has(each)).reverse();
    await post("tasks", { type: "tgfiles", params: { message_links: links }, user_id: user.user_id, storage: target.storage, path: target.folder });
    tell(plural("{n} file is being saved", "{n} files are being saved", links.length));
    close();
  };
  const exportList = async () => {
    await download("chats/export", { chat: opened.chat, account: opened.account, user_id: user?.user_id, filter: filterOf(asked), format: "csv" });
  };
  const isPrivate = rows.some((each) => !each.link);
  return html`<div class="inline"><${Button} icon="library" label=${t("Other chats")} action=${back} /><h3><bdi>${pages.title || opened.chat}</bdi></h3></div>
    <details class="options"><summary>${t("Filter")}</summary><form class="stack-gap" onSubmit=${(event) => (event.preventDefault(), setAsked({ ...form }))}>
      <${FilterFields} form=${form} change=${(fields) => setForm((before) => ({ ...before, ...fields }))} withDates />
      <button class="button">${t("Apply")}</button></form></details>
    ${error && html`<${Failure} error=${error} retry=${() => read(rows.length ? pages.next : 0)} />`}
    ${isBusy && !rows.length && html`<${Loading} />`}
    ${isPrivate && html`<p class="dim">${t("Single files of a private chat cannot be saved here.")} <a href=${to("chats", { add: opened.chat })}>${t("Archive the whole chat")}</a></p>`}
    <ul class="choices chat-files">${rows.map((each, n) => html`<li key=${`${each.message} ${n}`}><label>
      <input type="checkbox" disabled=${!each.link} checked=${selection.ids.has(each.link)} onClick=${(event) => selection.toggle(each.link, event.shiftKey)} />
      <span class="item-name"><bdi>${each.name}</bdi>${each.text && html`<small class="dim"><bdi>${each.text.slice(0, 200)}</bdi></small>`}</span>
      <${Tag}>${KINDS[each.kind]?.() ?? each.kind}</${Tag}><span class="number dim">${bytes(each.size)}</span><span class="dim">${time(each.posted_at)}</span></label></li>`)}
      ${!rows.length && pages.next === null && html`<li class="dim">${t("No file matches")}</li>`}
      ${!rows.length && pages.next && !isBusy && html`<li class="dim">${t("None in the newest messages; read on to see older ones.")}</li>`}</ul>
    ${pages.withheld > 0 && html`<p class="dim">${plural("The files of {n} message cannot be saved.", "The files of {n} messages cannot be saved.", pages.withheld)}</p>`}
    <div class="fields">${users.length > 1 && html`<${Choice} label=${t("For user")} value=${target.user} options=${users.map((each) => [String(each.user_id), String(each.user_id)])} onChange=${(id) => setTarget({ ...target, user: id, storage: "" })} />`}
      <${Choice} label=${t("Storage")} value=${target.storage} onChange=${(storage) => setTarget({ ...target, storage })} options=${[["", t("Default ({name})", { name: user?.storage ?? "–" })], ...(user?.storages ?? []).map((each) => [each, each])]} />
      <label class="field"><span>${t("Folder")}</span><input value=${target.folder} dir="auto" onInput=${(event) => setTarget({ ...target, folder: event.target.value })} /></label></div>
    <footer>${rows.length > 0 && html`<${Button} icon="up" label=${t("Export the list")} action=${exportList} />`}
      ${pages.next && html`<${Button} label=${t("Show older")} action=${() => read(pages.next)} />`}
      ${rows.length > 0 && html`<${Button} label=${selection.ids.size ? t("None") : t("All")} action=${() => (selection.ids.size ? selection.clear() : selection.all())} />`}
      <${Button} kind="main" icon="download" label=${plural("Save {n} file", "Save {n} files", selection.ids.size)} disabled=${!selection.ids.size} action=${save} /></footer>`;
}
