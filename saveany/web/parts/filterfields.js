// The fields of a filter for files: kinds, name, size and date.
import { t } from "../texts.js";
import { html } from "./html.js";

/** The kinds of files in words. */
export const KINDS = {
  photo: () => t("Pictures"),
  video: () => t("Videos"),
  audio: () => t("Music"),
  voice: () => t("Voice messages"),
  video_note: () => t("Video messages"),
  document: () => t("Documents"),
  animation: () => t("Animations"),
  sticker: () => t("Stickers"),
};

const MB = 1_000_000;

/** @typedef {{kinds: string[], name: string, min: string, max: string, after: string, before: string}} FilterForm */

/** @type {FilterForm} A form that is not filled in. */
export const NO_FILTER = { kinds: [], name: "", min: "", max: "", after: "", before: "" };

/** The filter as the API takes it. */
export function filterOf(/** @type {FilterForm} */ form) {
  return {
    ...(form.kinds.length ? { kinds: form.kinds } : {}),
    ...(form.name.trim() ? { name: form.name.trim() } : {}),
    ...(form.min ? { min_size: Math.round(Number(form.min) * MB) } : {}),
    ...(form.max ? { max_size: Math.round(Number(form.max) * MB) } : {}),
    ...(form.after ? { after: form.after } : {}),
    ...(form.before ? { before: form.before } : {}),
  };
}

/** @param {{form: FilterForm, change: (fields: Partial<FilterForm>) => void, withDates?: boolean}} props */
export function FilterFields({ form, change, withDates = false }) {
  const toggle = (/** @type {string} */ kind) => change({ kinds: form.kinds.includes(kind) ? form.kinds.filter((each) => each !== kind) : [...form.kinds, kind] });
  const field = (/** @type {"name" | "min" | "max" | "after" | "before"} */ name, /** @type {string} */ label, /** @type {object} */ more) => html`<label class="field"><span>${label}</span>
    <input value=${form[name]} ...${more} onInput=${(event) => change({ [name]: more.inputmode ? event.target.value.replace(",", ".").replace(/[^\d.]/g, "") : event.target.value })} /></label>`;
  return html`<fieldset class="checks"><legend>${t("Only these kinds (none chosen: all)")}</legend><div class="check-list">${Object.entries(KINDS).map(([kind, label]) => html`<label key=${kind}>
      <input type="checkbox" checked=${form.kinds.includes(kind)} onChange=${() => toggle(kind)} /> ${label()}</label>`)}</div></fieldset>
    <div class="fields">${field("name", t("Name or text contains (a pattern)"), { spellcheck: false, dir: "ltr", placeholder: "\\.(mkv|mp4)$" })}
      ${field("min", t("At least, MB"), { inputmode: "decimal" })}${field("max", t("At most, MB"), { inputmode: "decimal" })}
      ${withDates && field("after", t("Posted from this date on"), { type: "date" })}${withDates && field("before", t("Posted before this date"), { type: "date" })}</div>`;
}
