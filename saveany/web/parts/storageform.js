// The form of a storage: its options, made from what the API says about its type.
import { useState } from "preact/hooks";
import { get, patch, post } from "../api.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Button, Choice, confirm, Failure, Loading, tell, useLoaded } from "./ui.js";
import { ValueField, entered, shown } from "./valuefield.js";

/** @param {{storage?: any, done: () => void, cancel?: () => void, first?: boolean}} props `storage` is one that exists. */
export function StorageForm({ storage, done, cancel, first = false }) {
  const [types, error, reload] = useLoaded((stop) => get("storage-types", {}, stop).then((found) => found.types.sort((a, b) => Number(b.type === "local") - Number(a.type === "local"))));
  const [type, setType] = useState(storage?.type ?? "local");
  const [name, setName] = useState(storage?.name ?? (first ? "local1" : ""));
  const [values, setValues] = useState(first ? { base_path: "downloads" } : {});
  const [problems, setProblems] = useState(/** @type {Record<string, string>} */ ({}));
  const [tested, setTested] = useState(0);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!types) return html`<${Loading} />`;
  const described = types.find((each) => each.type === type);
  const options = described?.options ?? [];
  const valueOf = (field) => (field.name in values ? values[field.name] : shown(field, storage?.options[field.name]));
  const change = (field, value) => {
    setValues({ ...values, [field.name]: value });
    setTested(0);
  };
  const given = () => Object.fromEntries(options.filter((field) => field.name in values).map((field) => [field.name, entered(field, values[field.name])]));
  const body = () => ({ name: name.trim(), type, options: { ...(storage?.options ?? {}), ...given() } });
  const show = (failure) => {
    const found = /** @type {Record<string, string>} */ ({});
    for (const { field, message } of failure.details) found[field.replace(/^storages\[\d+\]\./, "")] = message;
    setProblems(found);
    if (!options.some((field) => found[field.name]) && !found.name) throw failure;
  };
  const attempt = async (work) => {
    setProblems({});
    try {
      await work();
    } catch (failure) {
      if (!failure.details?.length) throw failure;
      show(failure);
    }
  };
  const test = () => attempt(async () => setTested((await post("storage-tests", body())).seconds || 0.01));
  const save = () =>
    attempt(async () => {
      if (!storage) await post("storages", body());
      else await change_(storage.name, given());
      tell(storage ? t("{name} is changed", { name: name.trim() }) : t("{name} is added", { name: name.trim() }));
      done();
    });
  return html`<div class="stack">
    ${!storage && html`<div class="fields"><${Choice} label=${t("Kind")} value=${type} options=${types.map((each) => [each.type, `${each.type}: ${each.about}`])}
        onChange=${(value) => (setType(value), setValues(value === "local" && first ? { base_path: "downloads" } : {}), setTested(0))} />
      <label class="field"><span>${t("Name")}</span><input value=${name} maxlength="255" placeholder=${`${type}1`} onInput=${(event) => setName(event.target.value)} />
      ${problems.name && html`<p class="problem" role="alert">${problems.name}</p>`}</label></div>`}
    ${options.filter((field) => field.is_required).map((field) => html`<${ValueField} key=${field.name} field=${field} value=${valueOf(field)} problem=${problems[field.name]} onChange=${(value) => change(field, value)} />`)}
    ${options.some((field) => !field.is_required) && html`<details open=${!options.some((field) => field.is_required)}><summary>${t("More options")}</summary><div class="stack stack-gap">
      ${options.filter((field) => !field.is_required).map((field) => html`<${ValueField} key=${field.name} field=${field} value=${valueOf(field)} problem=${problems[field.name]} onChange=${(value) => change(field, value)} />`)}</div></details>`}
    ${tested > 0 && html`<p class="good-line" role="status">${t("It works: a small file was written and removed in {seconds} s.", { seconds: tested.toFixed(2) })}</p>`}
    <footer>${cancel && html`<${Button} label=${t("Cancel")} action=${cancel} />`}
      <${Button} icon="check" label=${t("Test")} disabled=${!name.trim()} action=${test} />
      <${Button} kind="main" label=${storage ? t("Save") : t("Add storage")} disabled=${!name.trim()} action=${save} /></footer></div>`;
}

/** Change options. A folder that has not the files of the storage needs a confirmation. */
async function change_(name, options) {
  const address = `storages/${encodeURIComponent(name)}`;
  try {
    await patch(address, { options });
  } catch (failure) {
    if (!failure.details?.some((each) => each.field === "moved")) throw failure;
    const agrees = await confirm(t("Begin anew in this folder?"), t("It does not have the files that were saved until now. Links to them do not work any more, unless you move the files there first, with .saveany-storage."), t("Begin anew"));
    if (agrees) await patch(address, { options, moved: true });
    else throw failure;
  }
}
