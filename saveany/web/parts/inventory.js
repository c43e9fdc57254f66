// Comparing a storage with the library, page by page: what is lost there, and what is not listed yet.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, post } from "../api.js";
import { bytes } from "../format.js";
import { plural, t } from "../texts.js";
import { html } from "./html.js";
import { Button, Choice, Dialog, Tag, useLoaded } from "./ui.js";

const SHOWN_PROBLEMS = 100;

/** Repeats a request until its reply leads to no next page; `note` gets each reply. Ends when the dialog is closed. */
function usePages() {
  const isOpen = useRef(true);
  const [isBusy, setBusy] = useState(false);
  useEffect(() => () => (isOpen.current = false), []);
  const run = async (path, body, cursor, next, note) => {
    setBusy(true);
    try {
      let page = null;
      do {
        page = await post(path, page ? { ...body, [cursor]: page[next] } : body);
        note(page);
      } while (page[next] && isOpen.current);
    } finally {
      setBusy(false);
    }
  };
  return { isBusy, run };
}

/** Looks for the copies of all saved files of the storage. */
export function Check({ name, close }) {
  const [state, setState] = useState(null);
  const { isBusy, run } = usePages();
  const check = () => {
    let [checked, found] = [0, []];
    setState({ checked, found });
    return run(`storages/${encodeURIComponent(name)}/check`, {}, "cursor", "next_cursor", (page) => {
      checked += page.checked;
      found = [...found, ...page.differences];
      setState({ checked, found });
    });
  };
  return html`<${Dialog} title=${t("Check the files: {name}", { name })} close=${close} wide><div class="stack">
    <p class="dim">${t("Looks for all saved files of this storage, and compares their sizes. Nothing is changed.")}</p>
    ${state && html`<p role="status">${plural("{n} file checked", "{n} files checked", state.checked)}, ${plural("{n} is missing or changed", "{n} are missing or changed", state.found.length)}${isBusy ? " …" : "."}</p>`}
    ${state?.found.length > 0 && html`<ul class="choices">${state.found.slice(0, SHOWN_PROBLEMS).map((each) => html`<li key=${each.file_id}><span>
      <bdi>${each.path}</bdi><${Tag} kind="bad">${each.found === null ? t("missing in the storage") : t("has another size in the storage")}</${Tag}>
      <span class="number dim">${bytes(each.size)}</span></span></li>`)}</ul>`}
    <footer>${!isBusy && html`<${Button} kind="main" icon="check" label=${t("Check")} action=${check} />`}
      <${Button} label=${t("Close")} action=${close} /></footer></div></${Dialog}>`;
}

/** Lists files that are in the storage already as saved. */
export function Scan({ name, close }) {
  const [path, setPath] = useState("");
  const [user, setUser] = useState("");
  const [users] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  const [state, setState] = useState(null);
  const { isBusy, run } = usePages();
  const scan = () => {
    let [added, known] = [0, 0];
    setState({ added, known });
    return run(`storages/${encodeURIComponent(name)}/scan`, { path, ...(user ? { user_id: Number(user) } : {}) }, "after", "next", (page) => {
      added += page.added;
      known += page.known;
      setState({ added, known });
    });
  };
  return html`<${Dialog} title=${t("List what is there: {name}", { name })} close=${close}><div class="stack">
    <p class="dim">${t("Adds files that are in this storage already to the library. Nothing is moved or changed in the storage.")}</p>
    <label class="field"><span>${t("Folder")}</span><input value=${path} dir="auto" disabled=${isBusy} onInput=${(event) => setPath(event.target.value)} /></label>
    ${users?.length > 1 && html`<${Choice} label=${t("For user")} value=${user || String(users[0].user_id)} options=${users.map((each) => [String(each.user_id), String(each.user_id)])} onChange=${setUser} />`}
    ${state && html`<p role="status">${plural("{n} file added", "{n} files added", state.added)}, ${plural("{n} known before", "{n} known before", state.known)}${isBusy ? " …" : "."}</p>`}
    <footer>${!isBusy && html`<${Button} kind="main" icon="add" label=${t("Add to the library")} action=${scan} />`}
      <${Button} label=${t("Close")} action=${close} /></footer></div></${Dialog}>`;
}
