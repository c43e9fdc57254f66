// The first steps of an operator: Telegram, an account, a storage. Each can be skipped, and done later elsewhere.
import { useState } from "preact/hooks";
import { get, patch, post, remove, restart } from "../api.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { LoginForm } from "../parts/loginform.js";
import { StorageForm } from "../parts/storageform.js";
import { Button, Failure, Loading, useLoaded } from "../parts/ui.js";
import { go, route, to } from "../router.js";
import { t } from "../texts.js";

const STEPS = { telegram: () => t("Telegram"), account: () => t("Account"), storage: () => t("Storage"), done: () => t("Done") };
/** The user of an installation without Telegram. */
const LOCAL_USER = 1;

export default function Setup() {
  const step = route.value.rest[0] in STEPS ? route.value.rest[0] : "telegram";
  document.title = `${t("Set up")} · SaveAny`;
  const View = { telegram: Telegram, account: Account, storage: Storage, done: Done }[step];
  const number = Object.keys(STEPS).indexOf(step);
  return html`<main class="alone" id="main"><div class="login setup"><p class="brand"><${Icon} name="download" />SaveAny</p>
    <ol class="steps" aria-label=${t("Steps")}>${Object.entries(STEPS).map(([name, label], n) => html`<li aria-current=${name === step ? "step" : undefined}
      class=${n < number ? "passed" : ""}><a href=${to(`setup/${name}`)}>${label()}</a></li>`)}</ol>
    <${View} /></div></main>`;
}

const next = (step) => go(to(`setup/${step}`));

function Telegram() {
  const [form, setForm] = useState({ id: "", hash: "", token: "", user: "" });
  const [problems, setProblems] = useState({});
  const [isRestarting, setRestarting] = useState(false);
  const field = (name, key, label, more = {}) => html`<label class="field"><span>${label}</span><input value=${form[name]} autocomplete="off" spellcheck="false"
    onInput=${(event) => setForm({ ...form, [name]: event.target.value.trim() })} ...${more} />${problems[key] && html`<p class="problem" role="alert">${problems[key]}</p>`}</label>`;
  const save = async () => {
    const values = { "telegram.app_id": Number(form.id) || form.id, "telegram.app_hash": form.hash };
    if (form.token) values["telegram.token"] = form.token;
    setProblems({});
    let state;
    try {
      state = await patch("config", { values });
    } catch (failure) {
      if (!failure.details?.some((each) => each.field in values)) throw failure;
      setProblems(Object.fromEntries(failure.details.map((each) => [each.field, each.message])));
      return;
    }
    if (Number(form.user)) await useAs(Number(form.user));
    if (state.waiting.length && state.can_restart) {
      setRestarting(true);
      await restart();
    }
    next("account");
  };
  if (isRestarting) return html`<h1>${t("SaveAny starts again")}</h1><p class="hint">${t("It takes some seconds to begin with these settings.")}</p><${Loading} rows=${3} />`;
  return html`<h1>${t("Connect Telegram")}</h1>
    <p>${t("Telegram gives every program an id. Open my.telegram.org, log in, choose “API development tools” and fill in the form; any title will do.")}</p>
    <p><a class="button" href="https://my.telegram.org" target="_blank" rel="noreferrer"><${Icon} name="open" /><span>my.telegram.org</span></a></p>
    <div class="fields">${field("id", "telegram.app_id", t("API id"), { inputmode: "numeric" })}${field("hash", "telegram.app_hash", t("API hash"), { maxlength: 64 })}</div>
    <details><summary>${t("Add a bot, too (you can do that later)")}</summary><div class="stack-gap">
      <p class="hint">${t("With a bot you use SaveAny inside Telegram. Send /newbot to @BotFather; it answers with a token. @userinfobot tells you your user id: only users who are listed can use the bot.")}</p>
      ${field("token", "telegram.token", t("Bot token"), { placeholder: "123456789:AAH…" })}${field("user", "user", t("Your Telegram user id"), { inputmode: "numeric" })}</div></details>
    <footer class="buttons end"><${Button} kind="plain" label=${t("Without Telegram")} action=${() => next("storage")} />
      <${Button} kind="main" label=${t("Continue")} disabled=${!form.id || !form.hash} action=${save} /></footer>`;
}

function Account() {
  const done = async (login) => {
    if (login.user_id) await useAs(login.user_id);
    next("storage");
  };
  return html`<h1>${t("Log in your account")}</h1>
    <p>${t("With your own account SaveAny reads the chats that you are in. A bot alone reads public channels, and chats that it is a member of.")}</p>
    <${LoginForm} done=${done} /><footer class="buttons end"><${Button} kind="plain" label=${t("Later")} action=${() => next("storage")} /></footer>`;
}

/** List a person of Telegram as the first user, instead of the one that stands for nobody. */
async function useAs(id) {
  const { users } = await get("users");
  if (!users.some((each) => each.user_id === id)) await post("users", { user_id: id, role: "admin" });
  if (id !== LOCAL_USER && users.some((each) => each.user_id === LOCAL_USER)) await remove(`users/${LOCAL_USER}`);
}

function Storage() {
  const [found, error, reload] = useLoaded((stop) => get("config/storages", {}, stop).then((reply) => reply.storages));
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  return html`<h1>${t("Where to save files")}</h1>
    ${found.length > 0 && html`<p class="good-line"><${Icon} name="check" />${t("There is a storage: {name}", { name: found.map((each) => each.name).join(", ") })}</p>`}
    <p>${t("A folder of this machine is the simplest. A path without / at its beginning is inside the folder of config.toml.")}</p>
    <${StorageForm} first=${!found.length} done=${() => next("done")} />
    <footer class="buttons end"><${Button} kind="plain" label=${found.length ? t("Continue") : t("Later")} action=${() => next("done")} /></footer>`;
}

function Done() {
  return html`<h1>${t("SaveAny is ready")}</h1><p>${t("Paste a link to save your first file. Everything that you have set can be changed in the menu: Storages, Accounts, Users, Configuration.")}</p>
    <footer class="buttons end"><a class="button" href=${to("status")}><span>${t("Status")}</span></a><a class="button main" href=${to("add")}><${Icon} name="add" /><span>${t("Add links")}</span></a></footer>`;
}
