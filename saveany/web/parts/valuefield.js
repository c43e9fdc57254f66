// A field of a form for a value that the API has described: a setting, or an option of a storage.
import { t } from "../texts.js";
import { html } from "./html.js";

/** What a secret that is set looks like in replies; sent back, it stays. */
export const HIDDEN = "********";

/** What a field shows for a value. */
export function shown(field, value) {
  if (value === null || value === undefined) return field.kind === "boolean" ? Boolean(field.default) : "";
  return field.kind === "list" ? value.join("\n") : value;
}

/** The value of what is in a field; null for the default. */
export function entered(field, text) {
  if (field.kind === "boolean") return text;
  const trimmed = String(text).trim();
  if (field.kind === "list") return trimmed ? trimmed.split(/\s*\n\s*/).map((each) => (/^-?\d{1,15}$/.test(each) && field.name === "must_join" ? Number(each) : each)) : null;
  if (trimmed === "") return null;
  if (field.kind === "integer" || field.kind === "number") return Number.isFinite(Number(trimmed)) ? Number(trimmed) : trimmed;
  return trimmed;
}

/** @param {{field: any, value: any, onChange: (value: any) => void, problem?: string, label?: string, locked?: boolean, children?: any}} props */
export function ValueField({ field, value, onChange, problem, label, locked = false, children }) {
  const id = `field-${field.key ?? field.name}`.replace(/\W/g, "-");
  const common = { id, disabled: locked, "aria-describedby": `${id}-about`, "aria-invalid": problem ? "true" : undefined };
  const onInput = (event) => onChange(event.target.value);
  const placeholder = field.default !== null && field.default !== "" && typeof field.default !== "object" ? String(field.default) : field.example ? t("such as {example}", { example: typeof field.example === "object" ? field.example[0] : field.example }) : "";
  const control = {
    boolean: () => html`<input type="checkbox" checked=${Boolean(value)} onChange=${(event) => onChange(event.target.checked)} ...${common} />`,
    choice: () => html`<select onChange=${onInput} ...${common}>${["", ...field.choices].map((each) => (each === "" && field.is_required ? null
      : html`<option value=${each} selected=${each === String(value ?? "")}>${each || t("As usual")}</option>`))}</select>`,
    list: () => html`<textarea rows="2" onInput=${onInput} placeholder=${t("One per line")} spellcheck="false" ...${common}>${value}</textarea>`,
    secret: () => html`<input type="password" value=${value === HIDDEN ? "" : value} onInput=${onInput} autocomplete="off"
      placeholder=${value === HIDDEN ? t("Is set; type to replace it") : ""} ...${common} />`,
    integer: () => html`<input inputmode="numeric" value=${value} onInput=${onInput} placeholder=${placeholder} ...${common} />`,
    number: () => html`<input inputmode="decimal" value=${value} onInput=${onInput} placeholder=${placeholder} ...${common} />`,
  };
  const make = control[field.kind === "list" ? "list" : field.is_secret ? "secret" : field.kind] ?? (() => html`<input value=${value} onInput=${onInput} placeholder=${placeholder} spellcheck="false" ...${common} />`);
  return html`<div class=${`value ${field.kind}`}><label for=${id}><code>${label ?? field.name}</code>${field.is_required ? html`<span class="dim"> ${t("required")}</span>` : ""}</label>
    ${make()}<p class="hint" id=${`${id}-about`}>${field.about}</p>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}${children}</div>`;
}
