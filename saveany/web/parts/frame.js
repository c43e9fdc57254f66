// The frame of all views: the menu, the state of the connection and of the queue.
import { post, session, logOut } from "../api.js";
import { speed } from "../format.js";
import { connection, queue, refresh, tasks, uploading } from "../live.js";
import { route, to } from "../router.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button } from "./ui.js";

/** The menu: view, label, the scope that one needs ("operator" for the operator). */
export function menu() {
  const entries = [
    ["now", t("Now"), "tasks"],
    ["add", t("Add"), "tasks"],
    ["library", t("Library"), "files"],
    ["links", t("Links"), "links"],
    ["chats", t("Chats"), "tasks"],
    ["history", t("History"), "tasks"],
    ["rules", t("Rules"), "tasks"],
    ["storages", t("Storages"), "operator"],
    ["accounts", t("Accounts"), "operator"],
    ["users", t("Users"), "operator"],
    ["keys", t("Keys"), ""],
    ["webhooks", t("Webhooks"), "tasks"],
    ["configuration", t("Configuration"), "operator"],
    ["status", t("Status"), "operator"],
    ["settings", t("Settings"), ""],
  ];
  const who = session.value;
  const sees = (need) => !need || who.is_operator || who.scopes.includes(need) || (need !== "operator" && who.scopes.includes("read"));
  return entries.filter(([, , need]) => sees(need));
}

const TABS = ["now", "add", "library", "links"];

export function Frame({ children }) {
  const entries = menu();
  const here = route.value.name;
  const title = entries.find(([name]) => name === here)?.[1] ?? (here === "docs" ? t("API reference") : t("More"));
  document.title = `${title} · SaveAny`;
  const entry = ([name, label]) => html`<li><a href=${to(name)} aria-current=${name === here ? "page" : undefined}>
    <${Icon} name=${name === "settings" ? "user" : name} /><span>${label}</span></a></li>`;
  const tabs = entries.filter(([name]) => TABS.includes(name));
  return html`<a class="skip" href="#main" onClick=${skip}>${t("Skip to the content")}</a>
    <div class="frame">
      <nav class="side" aria-label=${t("Menu")}><a class="brand" href=${to("now")}><${Icon} name="download" />SaveAny</a>
        <ul>${entries.map(entry)}</ul>
        <div class="side-end"><${Button} label=${t("Log out")} kind="plain" action=${logOut} hidden=${!session.value.csrf_token} /></div></nav>
      <div class="body">
        <header class="top"><h1>${title}</h1><${Flow} /></header>
        <${Trouble} />
        <main id="main" tabindex="-1">${children}</main>
      </div>
      <nav class="tabs" aria-label=${t("Menu")}><ul>${tabs.map(entry)}
        <li><a href=${to("more")} aria-current=${TABS.includes(here) ? undefined : "page"}><${Icon} name="more" /><span>${t("More")}</span></a></li></ul></nav>
    </div>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** The speed of all downloads together, and the button that pauses the queue. */
function Flow() {
  const rate = [...tasks.value.values()].reduce((sum, task) => sum + (task.value.status === "running" ? task.value.progress.speed_bps : 0), 0);
  const isPaused = queue.value?.paused;
  return html`<div class="flow">
    ${uploading.value && html`<a class="rate" href=${to("add")}>${t("Uploading {part} %", { part: Math.floor(uploading.value.part * 100) })}</a>`}
    <span class="rate" aria-label=${t("Speed")}>${speed(rate)}</span>
    <span class=${`dot ${connection.value}`} title=${STATES[connection.value]()}><span class="unseen">${STATES[connection.value]()}</span></span>
    ${queue.value && html`<${Button} icon=${isPaused ? "resume" : "pause"} kind=${isPaused ? "main" : ""}
      label=${isPaused ? t("Resume queue") : t("Pause queue")} action=${() => turn(isPaused)} />`}</div>`;
}

async function turn(isPaused) {
  await post(isPaused ? "queue/resume" : "queue/pause");
  refresh();
}

const STATES = {
  connecting: () => t("Connecting"),
  live: () => t("Connected"),
  polling: () => t("Connected; updates come every few seconds"),
  offline: () => t("No connection"),
};

function Trouble() {
  if (connection.value === "offline") {
    return html`<p class="banner bad" role="alert">${t("SaveAny does not answer. What you see is from before; the connection comes back by itself.")}</p>`;
  }
  return queue.value?.paused
    ? html`<p class="banner" role="status">${t("The queue is paused: running tasks go on, but no other task starts.")}</p>`
    : null;
}
