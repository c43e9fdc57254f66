// The people who may use this SaveAny: what each may use.
import { useState } from "preact/hooks";
import { get, patch, post, remove } from "../api.js";
import { html } from "../parts/html.js";
import { Button, Choice, confirm, Dialog, Empty, Failure, Loading, Tag, tell, useLoaded } from "../parts/ui.js";
import { to } from "../router.js";
import { t } from "../texts.js";

export default function Users() {
  const [found, error, reload] = useLoaded((stop) => get("users", {}, stop).then((reply) => reply.users));
  const [edited, setEdited] = useState(null);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const removeUser = async (user) => {
    if (!(await confirm(t("Remove user {id}?", { id: user.user_id }), t("Keys of this user stop working. Files that were saved stay."), t("Remove")))) return;
    await remove(`users/${user.user_id}`);
    reload();
  };
  const close = () => {
    setEdited(null);
    reload();
  };
  return html`<div class="tools second"><p class="dim">${t("Only these people can use the bot. Each has files, rules and links of their own.")}</p>
      <${Button} kind="main" icon="add" label=${t("Add user")} action=${() => setEdited({})} /></div>
    ${!found.length && html`<${Empty} icon="users" title=${t("There are no users")}>${t("Nobody can save files: whoever saves files must be a user.")}</${Empty}>`}
    ${found.length > 0 && html`<ul class="rows">${found.map((user) => html`<li key=${user.user_id} class="entry"><div class="entry-main">
      <div class="row-name"><span>${user.user_id}</span><small>${[storagesOf(user), accountsOf(user)].join(" · ")}</small></div>
      ${user.is_admin && html`<${Tag} kind="main">${t("Admin")}</${Tag}>`}</div>
      <div class="buttons"><${Button} icon="edit" label=${t("Change")} action=${() => setEdited(user)} />
        <a class="button" href=${to("rules", { user: user.user_id })}>${t("Rules")}</a>
        <${Button} icon="trash" label=${t("Remove")} action=${() => removeUser(user)} /></div></li>`)}</ul>`}
    <p class="hint after"><a href=${to("settings")}>${t("Limits for all users are in Settings.")}</a></p>
    ${edited && html`<${UserForm} user=${edited} close=${close} />`}`;
}

function storagesOf(user) {
  if (!user.listed_storages.length) return t("all storages");
  const names = user.listed_storages.join(", ");
  return user.blacklist ? t("all storages but {names}", { names }) : names;
}

function accountsOf(user) {
  return user.accounts.length ? t("accounts: {names}", { names: user.accounts.join(", ") }) : t("all accounts");
}

function UserForm({ user, close }) {
  const isNew = user.user_id === undefined;
  const [storages, noStorages] = useLoaded((stop) => get("config/storages", {}, stop).then((reply) => reply.storages.map((each) => each.name)));
  const [accounts, noAccounts] = useLoaded((stop) => get("accounts", {}, stop).then((reply) => reply.accounts.map((each) => each.name)));
  const [form, setForm] = useState({
    id: "",
    storages: user.listed_storages ?? [],
    mode: user.listed_storages?.length ? (user.blacklist ? "but" : "only") : "all",
    accounts: user.accounts ?? [],
    role: user.role ?? "",
  });
  // All at once: what is loaded later would move the buttons.
  if (!((storages || noStorages) && (accounts || noAccounts))) return html`<${Dialog} title=${t("Users")} close=${close}><${Loading} /></${Dialog}>`;
  const toggle = (name, value) => setForm({ ...form, [name]: form[name].includes(value) ? form[name].filter((each) => each !== value) : [...form[name], value] });
  const checks = (name, legend, values) => html`<fieldset class="checks"><legend>${legend}</legend>${values.map((value) => html`<label key=${value}><input type="checkbox" checked=${form[name].includes(value)} onChange=${() => toggle(name, value)} /> <bdi>${value}</bdi></label>`)}</fieldset>`;
  const save = async () => {
    const listed = form.mode === "all" ? [] : form.storages;
    const body = { storages: listed.length ? listed : null, blacklist: form.mode === "but" && listed.length ? true : null, accounts: form.accounts.length ? form.accounts : null, role: form.role || null };
    if (isNew) await post("users", { user_id: Number(form.id), ...body });
    else await patch(`users/${user.user_id}`, body);
    tell(isNew ? t("The user is added") : t("The user is changed"));
    close();
  };
  const others = (known, chosen) => [...new Set([...(known ?? []), ...chosen])];
  return html`<${Dialog} title=${isNew ? t("Add user") : t("User {id}", { id: user.user_id })} close=${close}><div class="stack">
    ${isNew && html`<label class="field"><span>${t("Telegram user id")}</span><input inputmode="numeric" autofocus value=${form.id} onInput=${(event) => setForm({ ...form, id: event.target.value.replace(/\D/g, "") })} /></label>
      <p class="hint">${t("Whoever sends @userinfobot a message learns their id.")}</p>`}
    <${Choice} label=${t("Role")} value=${form.role} options=${[["", t("First user: admin; others: user")], ["admin", t("Admin: sees all tasks, logs accounts in")], ["user", t("User")]]} onChange=${(role) => setForm({ ...form, role })} />
    <${Choice} label=${t("Storages")} value=${form.mode} options=${[["all", t("All")], ["only", t("Only the chosen ones")], ["but", t("All but the chosen ones")]]} onChange=${(mode) => setForm({ ...form, mode })} />
    ${form.mode !== "all" && checks("storages", t("Chosen storages"), others(storages, form.storages))}
    ${others(accounts, form.accounts).length > 0 && checks("accounts", t("Accounts that are read for this user; none chosen: all"), others(accounts, form.accounts))}
    <footer><${Button} label=${t("Cancel")} action=${close} /><${Button} kind="main" label=${isNew ? t("Add user") : t("Save")} disabled=${isNew && !form.id} action=${save} /></footer></div></${Dialog}>`;
}
