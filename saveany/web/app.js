// Where the browser begins: finds out who is logged in, and shows the frame with the view of the address.
import { effect, signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { loadSession, logIn, may, session } from "./api.js";
import * as live from "./live.js";
import { keepDraft } from "./draft.js";
import { html } from "./parts/html.js";
import { taskName } from "./format.js";
import { Frame } from "./parts/frame.js";
import { stateOf } from "./parts/tasks.js";
import { confirm, Failure, Loading, Messages, Questions } from "./parts/ui.js";
import { go, route } from "./router.js";
import { loadTexts, t } from "./texts.js";

/** The views by the first word of the address. Each is loaded when it is opened first. */
const VIEWS = {
  now: () => import("./views/now.js"),
  add: () => import("./views/add.js"),
  library: () => import("./views/library.js"),
  chats: () => import("./views/chats.js"),
  links: () => import("./views/links.js"),
  history: () => import("./views/history.js"),
  storages: () => import("./views/storages.js"),
  accounts: () => import("./views/accounts.js"),
  users: () => import("./views/users.js"),
  rules: () => import("./views/rules.js"),
  configuration: () => import("./views/configuration.js"),
  setup: () => import("./views/setup.js"),
  claim: () => import("./views/claim.js"),
  keys: () => import("./views/keys.js"),
  webhooks: () => import("./views/webhooks.js"),
  status: () => import("./views/status.js"),
  settings: () => import("./views/settings.js"),
  docs: () => import("./views/docs.js"),
  more: () => import("./views/more.js"),
  login: () => import("./views/login.js"),
};

const startError = signal(null);
/** Whether there is no configuration yet. */
const isNew = signal(false);

function View({ name }) {
  const [state, setState] = useState({ name: "", View: null, error: null });
  useEffect(() => {
    if (state.name === name) return undefined; // also if the reader came back before the next view was loaded
    let isLeft = false; // before it was loaded
    (VIEWS[name] ?? VIEWS.now)().then(
      (module) => {
        if (isLeft) return;
        scrollTo(0, 0);
        setState({ name, View: module.default, error: null });
      },
      () => isLeft || setState({ name, View: null, error: new Error(t("This part of the page could not be loaded. SaveAny may have been updated: reload the page.")) }),
    );
    return () => {
      isLeft = true;
    };
  }, [name, state.name]);
  if (state.name !== name) return html`<${Loading} />`;
  if (state.error) return html`<${Failure} error=${state.error} retry=${() => location.reload()} />`;
  return html`<${state.View} />`;
}

function App() {
  if (isNew.value) return html`<${View} name="claim" /><${Messages} />`;
  if (startError.value) {
    return html`<main class="alone"><${Failure} error=${startError.value} retry=${begin} /></main>`;
  }
  if (session.value === undefined) return html`<main class="alone"><${Loading} /></main>`;
  const name = route.value.name;
  if (name === "setup" && session.value?.is_operator) return html`<${View} name=${name} /><${Questions} /><${Messages} />`;
  return html`${session.value
    ? html`<${Frame}><${View} name=${name} /></${Frame}>`
    : html`<${View} name="login" />`}<${Questions} /><${Messages} />`;
}

/** Whether a login link may end the session of the reader: whoever has sent it may have made it for theirs. */
function wantsOther() {
  return confirm(t("Log in as somebody else?"), t("You are logged in. This link ends that and begins another session, which may be that of another person. Go on only if you asked for the link."), t("Log in"));
}

async function begin() {
  startError.value = null;
  isNew.value = false;
  try {
    const { name, rest } = route.value;
    if (name === "login" && rest[0]) {
      go("#/", true); // the code shall not stay in the history
      await loadSession();
      if (!session.value?.csrf_token || (await wantsOther())) await logIn({ code: rest[0] }).catch(loadSession);
    } else {
      await loadSession();
    }
  } catch (error) {
    isNew.value = error.kind === "Setup required";
    if (isNew.value) return;
    startError.value = error;
    setTimeout(begin, 3000);
  }
}

/** Another app shares a link with this one: `/?text=…`. It waits as a draft until the reader is logged in. */
function takeShared() {
  const given = new URLSearchParams(location.search);
  const found = ["url", "text", "title"].flatMap((name) => given.get(name)?.match(/(?:https?:\/\/|magnet:)\S+/g) ?? []);
  if (given.size) history.replaceState(null, "", `${location.pathname}${found.length ? "#/add" : location.hash}`);
  if (!found.length) return;
  keepDraft({ text: [...new Set(found)].join("\n"), type: "" });
  go("#/add", true);
}

/** Files that are dragged over the page can be dropped in the view for that. */
function offerUpload(/** @type {DragEvent} */ event) {
  if (event.dataTransfer?.types.includes("Files") && may("files") && route.value.name !== "add") go("#/add");
}

/** A notification of the system, if the reader wants them and does not see the page. */
function notify(task) {
  if (!document.hidden || localStorage.getItem("notices") !== "on" || globalThis.Notification?.permission !== "granted") return;
  try {
    new Notification(`${stateOf(task)}: ${taskName(task)}`, { body: task.error || "", tag: task.task_id });
  } catch {
    // browsers of phones allow them only to service workers
  }
}

history.scrollRestoration = "manual"; // long lists do it themselves, once their rows are there
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
await loadTexts();
takeShared();
effect(() => {
  if (session.value) live.start();
  else live.stop();
});
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
addEventListener("saveany-claimed", () => (isNew.value = false));
addEventListener("hashchange", () => route.value.name === "login" && route.value.rest[0] && begin());
addEventListener("dragenter", offerUpload);
live.onEnd(notify);
await begin();
