// Archives of whole chats, and watched chats: how far each is, its receipt, and new ones; live streams.
import { useEffect, useState } from "preact/hooks";
import { get, may, post, remove, session } from "../api.js";
import { bytes, duration, place } from "../format.js";
import { Adopt } from "../parts/adopt.js";
import { ChatFiles } from "../parts/chatfiles.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { LiveStreams, NewLive } from "../parts/livestreams.js";
import { NewArchive } from "../parts/newarchive.js";
import { Receipt, Verification } from "../parts/receipt.js";
import { Button, confirm, Empty, Failure, Loading, Tag, tell, useLoaded } from "../parts/ui.js";
import { go, route, to } from "../router.js";
import { plural, t } from "../texts.js";

const REFRESH_MS = 3000;

const STATES = {
  reading: () => t("Archiving"),
  following: () => t("Follows new messages"),
  complete: () => t("Complete"),
  paused: () => t("Paused"),
  blocked: () => t("Stopped by an error"),
};
const KINDS = { reading: "main", following: "good", complete: "good", blocked: "bad" };

export default function Chats() {
  const { query } = route.value;
  const [found, error, reload] = useLoaded((stop) => get("archives", {}, stop).then((page) => page.archives));
  const [shown, setShown] = useState({ kind: "", id: "" });
  useEffect(() => {
    const timer = setInterval(() => document.hidden || reload(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const close = () => (setShown({ kind: "", id: "" }), reload());
  const archive = found.find((each) => each.id === shown.id);
  const isNew = query.add !== undefined;
  const leave = () => (go(to("chats"), true), reload());
  return html`<div class="tools second"><p class="dim">${t("An archive saves all files of a chat, and its receipt accounts for every message. It can also follow the chat and save what comes later.")}</p>
      ${may("tasks") && html`<a class="button" href="#/chats?look"><${Icon} name="search" /><span>${t("Look into a chat")}</span></a>
      ${session.value.is_operator && html`<a class="button" href="#/chats?adopt"><${Icon} name="library" /><span>${t("Use files you have")}</span></a>`}
      <a class="button main" href="#/chats?add"><${Icon} name="add" /><span>${t("Archive a chat")}</span></a>`}</div>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    ${!found.length && html`<${Empty} icon="chats" title=${t("No chat is archived")}>
      <p>${t("Paste the link of a channel or group: first you see how many files it has and how large they are.")}</p></${Empty}>`}
    ${found.length > 0 && html`<ul class="rows">${found.map((each) => html`<${Row} key=${each.id} archive=${each} show=${setShown} reload=${reload} />`)}</ul>`}
    ${may("tasks") && html`<${LiveStreams} changes=${query.live} />`}
    ${shown.kind === "receipt" && archive && html`<${Receipt} archive=${archive} close=${close} />`}
    ${shown.kind === "verify" && archive && html`<${Verification} archive=${archive} close=${close} />`}
    ${query.look !== undefined && html`<${ChatFiles} chat=${query.look} close=${leave} />`}
    ${query.live !== undefined && html`<${NewLive} close=${leave} />`}
    ${query.adopt !== undefined && html`<${Adopt} close=${leave} />`}
    ${isNew && html`<${NewArchive} chat=${query.add} close=${leave} />`}`;
}

function Row({ archive, show, reload }) {
  const { id, title, counts } = archive;
  const act = async (action) => {
    await post(`archives/${id}/${action}`);
    reload();
  };
  const retry = async () => {
    tell(plural("{n} message is saved again", "{n} messages are saved again", (await post(`archives/${id}/retry`)).messages));
    reload();
  };
  const end = async () => {
    if (!(await confirm(t("Remove the archive of {name}?", { name: title }), t("Its receipt is deleted and no further messages are read. The saved files stay."), t("Remove")))) return;
    await remove(`archives/${id}`);
    reload();
  };
  const facts = [archive.chat !== title && archive.chat, archive.storage ? place(archive.storage, archive.dir_path) : archive.dir_path,
    archive.follow && archive.state !== "following" && t("then follows new messages"),
    session.value.user_id === null && t("user {id}", { id: archive.user_id })];
  return html`<li class="entry"><div class="entry-main">
      <button type="button" class="row-name" onClick=${() => show({ kind: "receipt", id })}><bdi>${title}</bdi><small><bdi>${facts.filter(Boolean).join(" · ")}</bdi></small></button>
      <${Tag} kind=${KINDS[archive.state]}>${STATES[archive.state]()}</${Tag}></div>
    <${Progress} archive=${archive} />
    ${archive.problem && html`<p class="problem"><${Icon} name="warning" />${archive.problem}</p>`}
    ${archive.notice && html`<p class="task-note"><${Icon} name="warning" />${archive.notice}</p>`}
    <div class="buttons"><${Button} icon="text" label=${t("Receipt")} aria-label=${`${t("Receipt")}: ${title}`} action=${() => show({ kind: "receipt", id })} />
      ${may("tasks") && html`${archive.state === "paused"
        ? html`<${Button} icon="resume" label=${t("Resume")} aria-label=${`${t("Resume")}: ${title}`} action=${() => act("resume")} />`
        : archive.state !== "complete" && html`<${Button} icon="pause" label=${t("Pause")} aria-label=${`${t("Pause")}: ${title}`} action=${() => act("pause")} />`}
      ${counts.failed > 0 && html`<${Button} icon="retry" label=${plural("Retry {n} failed", "Retry {n} failed", counts.failed)} action=${retry} />`}
      <${Button} icon="check" label=${t("Verify")} aria-label=${`${t("Verify")}: ${title}`} action=${() => show({ kind: "verify", id })} />
      <${Button} icon="trash" label=${t("Remove")} aria-label=${`${t("Remove")}: ${title}`} action=${end} />`}</div></li>`;
}

/** How many messages are accounted for. A chat that is only watched has no end, and therefore no bar. */
function Progress({ archive }) {
  const { counts, state } = archive;
  const total = counts.telegram_total;
  const done = Math.max(0, Math.min(total, total - archive.unaccounted - counts.pending));
  const part = total ? done / total : 0;
  const isOpen = archive.start !== "now" && !["complete", "following"].includes(state);
  const words = [plural("{n} file saved", "{n} files saved", counts.saved + counts.duplicate), archive.bytes > 0 && bytes(archive.bytes),
    counts.failed > 0 && plural("{n} failed", "{n} failed", counts.failed), counts.pending > 0 && plural("{n} waiting", "{n} waiting", counts.pending),
    isOpen && total > 0 && t("{done} of {all} messages", { done: done.toLocaleString(), all: total.toLocaleString() }),
    state === "reading" && archive.eta_seconds > 0 && t("about {time} left", { time: duration(archive.eta_seconds) })];
  return html`<p class="dim archive-sum">${words.filter(Boolean).join(" · ")}</p>
    ${isOpen && html`<div class=${`bar${state === "paused" ? " paused" : ""}`} role="progressbar" aria-label=${archive.title}
      aria-valuenow=${Math.round(part * 100)} aria-valuemin="0" aria-valuemax="100"><div style=${{ transform: `scaleX(${part})` }}></div></div>`}`;
}
