// A saved file over the page: what it looks or sounds like, and what can be done with it.
import { useEffect, useState } from "preact/hooks";
import { bytes, place, time } from "../format.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Player } from "./player.js";
import { Dialog, Failure, Loading, useLoaded } from "./ui.js";

const MAX_TEXT = 256 * 1024;

/** The address of the content of a file. */
export function contentOf(file, inline = true) {
  return `api/v1/files/${encodeURIComponent(file.file_id)}/content${inline ? "?inline=true" : ""}`;
}

/** The address of its thumbnail. */
export function thumbnailOf(file) {
  return `api/v1/files/${encodeURIComponent(file.file_id)}/thumbnail`;
}

/** @param {{file: any, close: () => void, next?: () => void, previous?: () => void, children: unknown}} props */
export function Preview({ file, close, next, previous, children }) {
  useEffect(() => {
    const press = (event) => {
      if (["INPUT", "SELECT", "VIDEO", "AUDIO"].includes(event.target.tagName) || ["video", "audio"].includes(file.type)) return;
      if (event.key === "ArrowRight") next?.();
      if (event.key === "ArrowLeft") previous?.();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [file.file_id]);
  return html`<${Dialog} title=${file.name} close=${close} wide>
    <div class="shown-file"><${Content} key=${file.file_id} file=${file} next=${next} previous=${previous} /></div>
    ${file.caption && html`<p class="caption" dir="auto">${file.caption}</p>`}
    <dl class="facts"><dt>${t("Size")}</dt><dd>${bytes(file.size)}</dd><dt>${t("Kind")}</dt><dd>${file.mime_type}</dd>
      <dt>${t("Stored at")}</dt><dd><bdi>${place(file.storage, file.path)}</bdi></dd><dt>${t("Saved")}</dt><dd>${time(file.added_at)}</dd>
      ${file.missing_since && html`<dt class="bad">${t("Missing since")}</dt><dd class="bad">${time(file.missing_since)}</dd>`}</dl>
    <footer>${(previous || next) && html`<span class="turn">
        <button type="button" class="button" disabled=${!previous} onClick=${previous}>${t("Previous")}</button>
        <button type="button" class="button" disabled=${!next} onClick=${next}>${t("Next")}</button></span>`}
      <a class="button" href=${contentOf(file, false)} download=${file.name}><${Icon} name="download" /><span>${t("Download")}</span></a>
      ${children}</footer></${Dialog}>`;
}

function Content({ file, next, previous }) {
  const [isBroken, setBroken] = useState(false);
  if (file.type === "video" || file.type === "audio") {
    return html`<${Player} kind=${file.type} source=${contentOf(file)} poster=${file.type === "video" ? thumbnailOf(file) : undefined} name=${file.name} next=${next} previous=${previous} />`;
  }
  if (file.type === "image" && !file.mime_type.includes("svg") && !isBroken) {
    return html`<img src=${contentOf(file)} alt=${file.name} onError=${() => setBroken(true)} />`;
  }
  if (file.type === "text") return html`<${Text} file=${file} />`;
  return html`<p class="no-preview"><${Icon} name=${file.type} />${file.mime_type === "application/pdf"
    ? html`<a class="button" href=${contentOf(file)} target="_blank" rel="noopener">${t("Open the document")}</a>`
    : t("There is no preview of this kind of file.")}</p>`;
}

function Text({ file }) {
  const [text, error, reload] = useLoaded(async (stop) => {
    const reply = await fetch(contentOf(file), { headers: { Range: `bytes=0-${MAX_TEXT - 1}` }, signal: stop });
    if (!reply.ok && reply.status !== 416) throw new Error(t("The file cannot be read."));
    return reply.status === 416 ? "" : reply.text();
  }, [file.file_id]);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (text === undefined) return html`<${Loading} />`;
  return html`<pre dir="auto">${text}</pre>${file.size > MAX_TEXT && html`<p class="dim">${t("This is only the beginning.")}</p>`}`;
}
