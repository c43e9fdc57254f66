// Telegram accounts: whether they work; log in and out.
import { useState } from "preact/hooks";
import { get, remove } from "../api.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { LoginForm } from "../parts/loginform.js";
import { Button, confirm, Dialog, Empty, Failure, Loading, Tag, tell, useLoaded, usePolling } from "../parts/ui.js";
import { to } from "../router.js";
import { t } from "../texts.js";

export default function Accounts() {
  const [found, error, reload] = useLoaded((stop) => get("accounts", {}, stop).then((reply) => reply.accounts));
  const [login, setLogin] = useState("");
  usePolling(Boolean(found?.some((each) => !each.ready)), reload);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const logOut = async (account) => {
    if (!(await confirm(t("Log {name} out?", { name: account.owner || account.name }), t("Files that only this account can read cannot be saved any more, and chats that it reads are not watched."), t("Log out")))) return;
    await remove(`accounts/${encodeURIComponent(account.name)}`);
    tell(t("{name} is logged out", { name: account.owner || account.name }));
    reload();
  };
  const done = (result) => {
    tell(t("{owner} is logged in.", { owner: result.owner }));
    setLogin("");
    reload();
  };
  return html`<div class="tools second"><p class="dim">${t("SaveAny reads Telegram with these accounts. A bot reads public channels and its own chats; your account reads what you can read.")}</p>
      <${Button} kind="main" icon="add" label=${t("Log in an account")} action=${() => setLogin("me")} /></div>
    ${!found.length && html`<${Empty} icon="accounts" title=${t("There are no accounts")}>${t("Set the API id and hash first.")}
      <a class="button main" href=${to("setup/telegram")}>${t("Connect Telegram")}</a></${Empty}>`}
    ${found.length > 0 && html`<ul class="rows">${found.map((account) => html`<li key=${account.name} class="entry"><div class="entry-main">
      <div class="row-name"><bdi>${account.owner || account.name}</bdi><small>${[account.is_bot ? t("bot") : account.name, account.user_id && t("user {id}", { id: account.user_id }), account.is_configured && t("from the configuration")].filter(Boolean).join(" · ")}</small></div>
      <${Tag} kind=${account.ready ? "good" : "bad"}>${account.ready ? t("Works") : t("Not ready")}</${Tag}></div>
      ${account.problem && html`<p class="problem"><${Icon} name="warning" />${account.problem}</p>`}
      ${!account.is_configured && html`<div class="buttons"><${Button} icon="retry" label=${t("Log in again")} action=${() => setLogin(account.name)} />
        <${Button} icon="cancel" label=${t("Log out")} action=${() => logOut(account)} /></div>`}
      ${account.is_bot && html`<div class="buttons"><a class="button" href=${to("configuration", { q: "telegram.token" })}>${t("Change the token")}</a></div>`}</li>`)}</ul>`}
    ${login && html`<${Dialog} title=${t("Log in an account")} close=${() => setLogin("")}><${LoginForm} name=${login} askName=${login === "me"} done=${done} cancel=${() => setLogin("")} /></${Dialog}>`}`;
}
