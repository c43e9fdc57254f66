// Keys with which programs use the API.
import { useState } from "preact/hooks";
import { get, post, remove, session } from "../api.js";
import { time } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Button, Choice, confirm, Copy, Dialog, Empty, Failure, Loading, Tag, useLoaded } from "../parts/ui.js";
import { to } from "../router.js";
import { t } from "../texts.js";

const SCOPES = {
  tasks: () => t("add and change tasks"),
  files: () => t("use saved files"),
  links: () => t("make links"),
  read: () => t("only read"),
  compat: () => t("the APIs of other hosts"),
};

export default function Keys() {
  const [found, error, reload] = useLoaded((stop) => get("keys", {}, stop));
  const [isNew, setNew] = useState(false);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const revoke = async (key) => {
    if (!(await confirm(t("Revoke the key {name}?", { name: key.name }), t("Programs that use it are refused at once. This cannot be undone."), t("Revoke")))) return;
    await remove(`keys/${key.key_id}`);
    reload();
  };
  const isOperator = session.value.is_operator;
  return html`<div class="tools second"><p class="dim">${t("A key lets a program act for one user, only for what it is allowed to.")}</p>
      <a class="button" href=${to("docs")}><${Icon} name="text" /><span>${t("API reference")}</span></a>
      ${isOperator && html`<${Button} kind="main" icon="add" label=${t("New key")} action=${() => setNew(true)} />`}</div>
    ${!found.keys.length && html`<${Empty} icon="keys" title=${t("There are no keys")} />`}
    ${found.keys.length > 0 && html`<ul class="rows">${found.keys.map((key) => html`<li key=${key.key_id} class="entry"><div class="entry-main">
      <div class="row-name"><bdi>${key.name}</bdi><small>${[t("user {id}", { id: key.user_id }), key.scopes.map((each) => SCOPES[each]()).join(", "),
        key.used_at ? t("used {time}", { time: time(key.used_at) }) : t("not used yet"), key.in_configuration && t("from the configuration")].filter(Boolean).join(" · ")}</small></div>
      <${Tag} kind=${key.state === "active" ? "good" : "bad"}>${key.state === "active" ? t("Works") : t("Revoked")}</${Tag}></div>
      ${key.state === "active" && !key.in_configuration && isOperator && html`<div class="buttons"><${Button} icon="cancel" label=${t("Revoke")} action=${() => revoke(key)} /></div>`}</li>`)}</ul>`}
    ${isNew && html`<${NewKey} close=${() => (setNew(false), reload())} />`}`;
}

function NewKey({ close }) {
  const [users] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  const [form, setForm] = useState({ name: "", user: "", scopes: ["tasks"], readable: false });
  const [made, setMade] = useState(null);
  if (made) {
    return html`<${Dialog} title=${made.name} close=${close}><div class="stack"><p>${t("Copy the key now: it is not shown again.")}</p>
      ${(made.readable || made.scopes.includes("compat")) && html`<label class="field"><span>${made.scopes.includes("compat") ? t("Login, for clients of other hosts") : t("Id of the key, for signed requests")}</span><input readonly value=${made.key_id} onFocus=${(event) => event.target.select()} /></label>`}
      <label class="field"><span>${t("Key")}</span><input readonly value=${made.secret} onFocus=${(event) => event.target.select()} /></label>
      <footer><${Copy} kind="main" text=${made.secret} label=${t("Copy key")} /><${Button} label=${t("Done")} action=${close} /></footer></div></${Dialog}>`;
  }
  const toggle = (scope) => setForm({ ...form, scopes: form.scopes.includes(scope) ? form.scopes.filter((each) => each !== scope) : [...form.scopes, scope] });
  const make = async () => setMade(await post("keys", { name: form.name.trim(), user_id: Number(form.user || users[0].user_id), scopes: form.scopes, readable: form.readable }));
  return html`<${Dialog} title=${t("New key")} close=${close}><div class="stack">
    <label class="field"><span>${t("What it is for")}</span><input value=${form.name} autofocus maxlength="100" onInput=${(event) => setForm({ ...form, name: event.target.value })} /></label>
    ${users && html`<${Choice} label=${t("For user")} value=${form.user || String(users[0]?.user_id ?? "")} options=${users.map((each) => [String(each.user_id), String(each.user_id)])} onChange=${(user) => setForm({ ...form, user })} />`}
    <fieldset class="checks"><legend>${t("It may")}</legend>${Object.entries(SCOPES).map(([scope, label]) => html`<label key=${scope}><input type="checkbox" checked=${form.scopes.includes(scope)} onChange=${() => toggle(scope)} /> ${label()}</label>`)}</fieldset>
    <label class="check"><input type="checkbox" checked=${form.readable} onChange=${(event) => setForm({ ...form, readable: event.target.checked })} /> ${t("Keep the secret itself, for programs that sign requests with it")}</label>
    <footer><${Button} label=${t("Cancel")} action=${close} /><${Button} kind="main" label=${t("Create")} disabled=${!form.name.trim() || !form.scopes.length || !users} action=${make} /></footer></div></${Dialog}>`;
}
