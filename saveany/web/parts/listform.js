// A file with a list of links, which becomes a few tasks.
import { useRef, useState } from "preact/hooks";
import { postFile } from "../api.js";
import { bytes } from "../format.js";
import { go, to } from "../router.js";
import { plural, t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, tell } from "./ui.js";

const SHOWN_PROBLEMS = 100;
const TABLE = /\.(csv|tsv|txt)$/i;

/** @param {{options: Record<string, unknown>}} props the fields of the request that are the same for all links */
export function ListForm({ options }) {
  const [file, setFile] = useState(/** @type {File | null} */ (null));
  const [column, setColumn] = useState("");
  const [saved, setSaved] = useState(null);
  const input = useRef(null);
  const choose = (/** @type {File | null} */ chosen) => {
    setFile(chosen);
    setSaved(null);
  };
  const save = async () => {
    const found = await postFile("tasks/list", { ...options, column: column.trim() }, file);
    if (found.links) tell(plural("{n} link is being saved", "{n} links are being saved", found.links));
    if (found.links && !found.refused && !found.truncated) go(to("now"));
    setSaved(found);
    setFile(null);
  };
  return html`<details class="options list-form"><summary>${t("A list of links")}</summary>
    <div class="field"><span id="list">${t("Links one per line, CSV, JSON Lines, or an export of Telegram Desktop or tdl")}</span>
      <input ref=${input} type="file" hidden aria-labelledby="list" onChange=${(event) => choose(event.target.files[0] ?? null)} />
      <div class="buttons"><${Button} icon="up" label=${file ? t("Choose another file") : t("Choose a file")} action=${() => input.current.click()} />
        ${file && html`<span class="chosen"><bdi>${file.name}</bdi> <span class="dim number">${bytes(file.size)}</span></span>
          <${Button} kind="main" icon="download" label=${t("Save the list")} action=${save} />`}</div></div>
    ${file && TABLE.test(file.name) && html`<label class="field"><span>${t("Column with the links, if it is a table")}</span>
      <input value=${column} placeholder="link" dir="auto" maxlength="255" onInput=${(event) => setColumn(event.target.value)} /></label>`}
    ${saved && html`<${Saved} saved=${saved} />`}</details>`;
}

/** What has become of a list that was not saved as a whole. */
function Saved({ saved }) {
  const more = saved.problems.length - SHOWN_PROBLEMS;
  const place = (each) => (each.line === null ? t("message {id}", { id: each.message }) : t("line {n}", { n: each.line }));
  return html`<section class="card" role="status">
    <p>${plural("{n} link is being saved", "{n} links are being saved", saved.links)}. ${plural("{n} was left out", "{n} were left out", saved.refused)}.</p>
    ${saved.truncated && html`<p class="problem"><${Icon} name="warning" />${t("The export ends in the middle; what is before its end is used.")}</p>`}
    <ul class="problems">${saved.problems.slice(0, SHOWN_PROBLEMS).map((each) => html`<li key=${place(each)}>
      <b>${place(each)}</b> ${each.link && html`<bdi class="dim">${each.link}</bdi>`} ${each.reason}</li>`)}</ul>
    ${more > 0 && html`<p class="dim">${plural("{n} more", "{n} more", more)}</p>`}</section>`;
}
