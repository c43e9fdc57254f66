// What the reader can choose: how this page looks, other devices, and for the operator the limits.
import { useState } from "preact/hooks";
import { get, post, put, session } from "../api.js";
import { time } from "../format.js";
import { html } from "../parts/html.js";
import { Button, Choice, Copy, Failure, Loading, tell, useLoaded } from "../parts/ui.js";
import { LANGUAGES, language, setLanguage, t } from "../texts.js";

export default function Settings() {
  const [theme, setTheme] = useState(localStorage.getItem("theme") ?? "");
  const who = session.value;
  const chooseTheme = (value) => {
    setTheme(value);
    if (value) localStorage.setItem("theme", value);
    else localStorage.removeItem("theme");
    document.documentElement.dataset.theme = value;
  };
  return html`<section class="card"><h2>${t("This browser")}</h2><div class="fields">
      <${Choice} label=${t("Language")} value=${language()} options=${Object.entries(LANGUAGES)} onChange=${setLanguage} />
      <${Choice} label=${t("Colours")} value=${theme} options=${[["", t("As the system")], ["light", t("Light")], ["dark", t("Dark")]]} onChange=${chooseTheme} /></div>
      <${Notices} /></section>
    <section class="card"><h2>${t("Session")}</h2>
      <p>${who.is_operator ? t("You are the operator: you may do everything, for all users.") : t("You act for user {id}.", { id: who.user_id })}
      ${who.expires_at ? ` ${t("The session ends {time}.", { time: time(who.expires_at) })}` : ""}</p>
      <${OtherDevice} /></section>
    ${who.is_operator && html`<${Limits} />`}`;
}

/** Notifications of the system when a task ends while this page is not on the screen. */
function Notices() {
  const can = "Notification" in window && isSecureContext;
  const [isOn, setOn] = useState(can && localStorage.getItem("notices") === "on" && Notification.permission === "granted");
  const turn = async () => {
    const on = !isOn && (await Notification.requestPermission()) === "granted";
    if (!isOn && !on) throw new Error(t("The browser does not allow notifications of this page. Its settings for this address can."));
    localStorage.setItem("notices", on ? "on" : "off");
    setOn(on);
  };
  if (!can) return html`<p class="hint">${t("Notifications of the browser need an address with https.")}</p>`;
  return html`<p class="setting"><span>${t("Notify me when a task ends while this page is hidden.")}</span>
    <${Button} label=${isOn ? t("Turn off") : t("Turn on")} action=${turn} aria-pressed=${isOn ? "true" : "false"} /></p>`;
}

function OtherDevice() {
  const [link, setLink] = useState(null);
  if (!link) {
    return html`<p class="setting"><span>${t("Log in on another device with a link that works once, for 15 minutes.")}</span>
      <${Button} label=${t("Make a login link")} action=${async () => setLink(await post("session/links"))} /></p>`;
  }
  return html`<label class="field"><span>${t("Open this on the other device")}</span><input readonly value=${link.url} onFocus=${(event) => event.target.select()} /></label>
    <p><${Copy} text=${link.url} /></p>`;
}

const MB = 1_000_000;

function Limits() {
  const [found, error, reload] = useLoaded((stop) => get("limits", {}, stop));
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} rows=${2} />`;
  return html`<${LimitsForm} key=${JSON.stringify(found)} limits=${found} reload=${reload} />`;
}

function LimitsForm({ limits, reload }) {
  const [form, setForm] = useState({
    all: limits.bytes_per_second ? String(limits.bytes_per_second / MB) : "",
    user: limits.bytes_per_second_per_user ? String(limits.bytes_per_second_per_user / MB) : "",
    tasks: limits.tasks_per_user ? String(limits.tasks_per_user) : "",
    archives: limits.archives_per_user ? String(limits.archives_per_user) : "",
  });
  const field = (name, label) => html`<label class="field"><span>${label}</span><input inputmode="decimal" value=${form[name]} placeholder=${t("No limit")}
    onInput=${(event) => setForm({ ...form, [name]: event.target.value.replace(",", ".").replace(/[^\d.]/g, "") })} /></label>`;
  const save = async () => {
    await put("limits", {
      bytes_per_second: Math.round(Number(form.all || 0) * MB),
      bytes_per_second_per_user: Math.round(Number(form.user || 0) * MB),
      tasks_per_user: Math.round(Number(form.tasks || 0)),
      archives_per_user: Math.round(Number(form.archives || 0)),
    });
    tell(t("The limits apply now"));
    reload();
  };
  const reset = async () => {
    await put("limits", {});
    reload();
  };
  return html`<section class="card"><h2>${t("Limits")}</h2><div class="fields">
    ${field("all", t("Speed of all downloads, MB/s"))}${field("user", t("Speed of one user, MB/s"))}${field("tasks", t("Running tasks of one user"))}${field("archives", t("Archives of one user"))}</div>
    <p class="buttons"><${Button} kind="main" label=${t("Save")} action=${save} /><${Button} label=${t("As configured")} action=${reset} /></p></section>`;
}
