// Choosing files to upload, by a button or by dropping them, and the progress of each.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { bytes } from "../format.js";
import { end, retry, send, uploads } from "../uploads.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, Tag } from "./ui.js";

const STATES = {
  waiting: () => t("Waiting"),
  sending: () => t("Uploading"),
  lost: () => t("Waits for the connection"),
  done: () => t("Uploaded"),
  failed: () => t("Failed"),
};
const KINDS = { sending: "main", lost: "warn", done: "good", failed: "bad" };

/** @param {{fields: Record<string, unknown>}} props */
export function Uploads({ fields }) {
  const input = useRef(null);
  const [isOver, setOver] = useState(false);
  const latest = useRef(fields);
  latest.current = fields;
  useLayoutEffect(() => {
    let depth = 0;
    const over = (step) => setOver((depth = Math.max(0, depth + step)) > 0);
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const listeners = {
      dragenter: (event) => hasFiles(event) && over(1),
      dragleave: (event) => hasFiles(event) && over(-1),
      dragover: (event) => hasFiles(event) && event.preventDefault(),
      drop: (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        setOver(((depth = 0), false));
        send(plainFiles(event.dataTransfer), latest.current);
      },
    };
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener);
    return () => Object.entries(listeners).forEach(([name, listener]) => removeEventListener(name, listener));
  }, []);
  const choose = (event) => {
    send([...event.target.files], latest.current);
    event.target.value = "";
  };
  return html`<section class=${`drop${isOver ? " over" : ""}`}><p>${t("Or drop files here, to upload them to the same storage and folder.")}</p>
      <input ref=${input} type="file" multiple hidden aria-label=${t("Files to upload")} onChange=${choose} />
      <${Button} icon="up" label=${t("Choose files")} action=${() => input.current.click()} /></section>
    ${uploads.value.length > 0 && html`<ul class="rows">${uploads.value.map((each) => html`<${Row} key=${each.peek().id} upload=${each} />`)}</ul>`}`;
}

/** The dropped files, without folders, which browsers cannot send. */
function plainFiles(/** @type {DataTransfer} */ dropped) {
  const items = [...dropped.items].filter((item) => item.kind === "file" && !item.webkitGetAsEntry?.()?.isDirectory);
  return items.map((item) => item.getAsFile()).filter((file) => file !== null);
}

function Row({ upload }) {
  const { name, size, sent, state, error } = upload.value;
  const part = size ? sent / size : 1;
  return html`<li class="entry"><div class="entry-main"><div class="row-name"><bdi>${name}</bdi><small>${t("{done} of {all}", { done: bytes(sent), all: bytes(size) })}</small></div>
      <${Tag} kind=${KINDS[state]}>${STATES[state]()}</${Tag}>
      ${state === "failed" && html`<${Button} short icon="retry" label=${t("Try again")} aria-label=${`${t("Try again")}: ${name}`} action=${() => retry(upload)} />`}
      <${Button} short icon="cancel" label=${state === "done" ? t("Remove from the list") : t("Cancel")} aria-label=${`${t("Cancel")}: ${name}`} action=${() => end(upload)} /></div>
    ${["sending", "lost", "waiting"].includes(state) && html`<div class="bar" role="progressbar" aria-label=${name} aria-valuenow=${Math.round(part * 100)} aria-valuemin="0" aria-valuemax="100"><div style=${{ transform: `scaleX(${part})` }}></div></div>`}
    ${error && html`<p class="problem" role="alert"><${Icon} name="warning" />${error}</p>`}</li>`;
}
