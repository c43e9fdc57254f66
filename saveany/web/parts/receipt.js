// The receipt of an archive, its messages, and the comparison with the storage.
import { useState } from "preact/hooks";
import { get, may, post } from "../api.js";
import { bytes } from "../format.js";
import { plural, t } from "../texts.js";
import { html } from "./html.js";
import { Button, Choice, Dialog, Failure, Loading, Tag, tell, useLoaded } from "./ui.js";

/** What became of messages, in the order of the receipt. */
const OUTCOMES = {
  without_media: () => t("without files"),
  saved: () => t("saved"),
  duplicate: () => t("saved before (the same file)"),
  filtered: () => t("excluded by the filter"),
  gone: () => t("deleted before they were read"),
  locked: () => t("paid, not bought"),
  expired: () => t("expired"),
  protected: () => t("may not be copied"),
  failed: () => t("failed"),
  pending: () => t("waiting"),
};
const PROBLEMS = {
  not_in_catalogue: () => t("deleted from the library"),
  missing: () => t("missing in the storage"),
  changed: () => t("has another size in the storage"),
  unverifiable: () => t("could not be verified"),
  deleted: () => t("deleted in Telegram since"),
};
const KINDS = { saved: "good", duplicate: "good", failed: "bad", gone: "warn", pending: "main" };
/** Problems that saving again repairs. */
const REPAIRED = new Set(["not_in_catalogue", "missing", "changed"]);
/** Messages that one request verifies, and with the contents of their files. */
const [VERIFIED_AT_ONCE, HASHED_AT_ONCE] = [200, 10];
const SHOWN_PROBLEMS = 100;

/** Whether the numbers add up, and if not, why. */
function balance(archive) {
  const rest = archive.unaccounted;
  if (!rest) return t("Every message is accounted for.");
  if (rest < 0) return plural("{n} of these messages was deleted after it was read.", "{n} of these messages were deleted after they were read.", -rest);
  if (["reading", "paused", "blocked"].includes(archive.state)) return plural("{n} message is not read yet.", "{n} messages are not read yet.", rest);
  if (archive.start !== "first") return plural("{n} message is before the start of the archive.", "{n} messages are before the start of the archive.", rest);
  return plural("{n} message is counted by Telegram, but withheld from this account.", "{n} messages are counted by Telegram, but withheld from this account.", rest);
}

export function Receipt({ archive, close }) {
  const { counts } = archive;
  const [outcome, setOutcome] = useState(counts.failed ? "failed" : "");
  const rows = Object.keys(OUTCOMES).filter((name) => counts[name] || ["saved", "failed"].includes(name));
  const listed = rows.filter((name) => name !== "without_media" && counts[name]);
  return html`<${Dialog} title=${t("Receipt: {name}", { name: archive.title })} close=${close} wide><div class="stack">
    <table><tbody><tr><th scope="row">${t("messages, according to Telegram")}</th><td class="number">${counts.telegram_total.toLocaleString()}</td></tr>
      ${rows.map((name) => html`<tr key=${name}><th scope="row">${OUTCOMES[name]()}${name === "saved" && html` <span class="dim">${bytes(archive.bytes)}</span>`}</th>
        <td class=${`number${name === "failed" && counts.failed ? " bad" : ""}`}>${counts[name].toLocaleString()}</td></tr>`)}</tbody></table>
    <p>${balance(archive)}</p>${archive.notice && html`<p class="dim">${archive.notice}</p>`}
    ${listed.length > 0 && html`<${Choice} label=${t("Messages with files")} value=${outcome} onChange=${setOutcome}
      options=${[["", t("All")], ...listed.map((name) => [name, OUTCOMES[name]()])]} />
    <${Messages} key=${outcome} archive=${archive} outcome=${outcome} />`}</div></${Dialog}>`;
}

function Messages({ archive, outcome }) {
  const [more, setMore] = useState([]);
  const [cursor, setCursor] = useState(undefined);
  const path = `archives/${archive.id}/messages`;
  const [first, error, reload] = useLoaded((stop) => get(path, { outcome, limit: 50 }, stop), [archive.id, outcome]);
  if (error && !first) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!first) return html`<${Loading} rows=${2} />`;
  const next = cursor === undefined ? first.next_cursor : cursor;
  const load = async () => {
    const page = await get(path, { outcome, limit: 200, cursor: next });
    setMore([...more, ...page.messages]);
    setCursor(page.next_cursor);
  };
  return html`<ul class="choices">${[...first.messages, ...more].map((each) => html`<li key=${`${each.chat} ${each.message}`}><span>
      <span class="number">${each.message}</span><${Tag} kind=${KINDS[each.outcome]}>${OUTCOMES[each.outcome]()}</${Tag}>
      <bdi class=${each.outcome === "failed" ? "bad" : "dim"}>${each.reason}</bdi><span class="number dim">${each.size ? bytes(each.size) : ""}</span></span></li>`)}
      ${!first.messages.length && html`<li class="dim">${t("There is none")}</li>`}</ul>
    ${next && html`<${Button} label=${t("Show more")} action=${load} />`}`;
}

/** Compares the receipt with the catalogue and the sizes in the storage, step by step. */
export function Verification({ archive, close }) {
  const [state, setState] = useState(null);
  const [options, setOptions] = useState({ hash: false, telegram: false });
  const option = (name, label) => html`<label class="check"><input type="checkbox" checked=${options[name]} disabled=${Boolean(state?.isBusy)}
    onChange=${(event) => setOptions({ ...options, [name]: event.target.checked })} /> ${label}</label>`;
  const run = async (repair) => {
    let [checked, found, cursor] = [0, [], ""];
    setState({ checked, found, isBusy: true, repair });
    try {
      do {
        const page = await post(`archives/${archive.id}/verify`, { repair, ...options, limit: options.hash ? HASHED_AT_ONCE : VERIFIED_AT_ONCE, cursor });
        checked += page.checked;
        found = [...found, ...page.discrepancies];
        cursor = page.next_cursor;
        setState({ checked, found, isBusy: Boolean(cursor), repair });
      } while (cursor);
    } catch (error) {
      setState({ checked, found, isBusy: false, repair, isBroken: true });
      throw error;
    }
    if (repair) tell(t("What is missing or changed is saved again"));
  };
  const lost = state?.found.some((each) => REPAIRED.has(each.problem) && !each.replaced);
  return html`<${Dialog} title=${t("Verify: {name}", { name: archive.title })} close=${close} wide><div class="stack">
    <p class="dim">${t("Compares the receipt with the library, and with the sizes of the files in the storage. Nothing is changed.")}</p>
    ${option("hash", t("Also read the files and compare their contents, which takes long"))}
    ${option("telegram", t("Also find messages that were deleted in Telegram since"))}
    ${state && html`<p role="status">${plural("{n} message verified", "{n} messages verified", state.checked)}, ${plural("{n} differs", "{n} differ", state.found.length)}${state.isBusy ? " …" : "."}</p>`}
    ${state?.found.length > 0 && html`<ul class="choices">${state.found.slice(0, SHOWN_PROBLEMS).map((each) => html`<li key=${`${each.chat} ${each.message} ${each.path}`}><span>
      <span class="number">${each.message}</span><${Tag} kind="bad">${PROBLEMS[each.problem]()}</${Tag}>${each.replaced && html`<${Tag} kind="warn">${t("replaced by an edit")}</${Tag}>`}<bdi class="dim">${each.path && `${each.storage}:/${each.path}`}</bdi></span></li>`)}</ul>`}
    <footer>${!state?.isBusy && (!state || state.isBroken) && html`<${Button} kind="main" icon="check" label=${t("Verify")} action=${() => run(false)} />`}
      ${!state?.isBusy && lost && !state.repair && may("tasks") && html`<${Button} kind="main" icon="retry" label=${t("Save again what is missing")} action=${() => run(true)} />`}
      <${Button} label=${t("Close")} action=${close} /></footer></div></${Dialog}>`;
}
