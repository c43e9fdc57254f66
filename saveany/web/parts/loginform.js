// Logging a Telegram account in: by QR code, by phone number and code, or with a session string.
import { useEffect, useState } from "preact/hooks";
import { get, post, remove } from "../api.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Button, Choice, Failure, Loading } from "./ui.js";

const QUESTIONS = {
  phone: () => t("Phone number of the account, such as +491701234567"),
  code: () => t("Login code"),
  password: () => t("Password of the two-step verification"),
};
const WRONG = {
  phone: () => t("Telegram does not know this number. Write it with + and the code of the country."),
  code: () => t("That code was wrong. Try again."),
  password: () => t("That password was wrong. Try again."),
};

/** @param {{name?: string, askName?: boolean, done: (login: any) => void, cancel?: () => void}} props */
export function LoginForm({ name = "me", askName = false, done, cancel }) {
  const [login, setLogin] = useState(null);
  const [chosen, setChosen] = useState({ name, method: "qr", session: "" });
  const [error, setError] = useState(null);
  const isRunning = login && !["done", "failed"].includes(login.state);
  useEffect(() => {
    if (!isRunning) return undefined;
    const timer = setInterval(async () => {
      try {
        const found = await get(`logins/${login.login_id}`);
        setError(null);
        setLogin(found);
        if (found.state === "done") done(found);
      } catch (failure) {
        setError(failure);
        if (failure.status === 404) setLogin(null);
      }
    }, 1000);
    return () => clearInterval(timer);
  }, [login?.login_id, isRunning]);
  const begin = async () => {
    setError(null);
    setLogin(await post("logins", { ...chosen, name: chosen.name.trim() || "me", session: chosen.method === "session" ? chosen.session.trim() : "" }));
  };
  const stop = async () => {
    if (isRunning) await remove(`logins/${login.login_id}`).catch(() => null);
    setLogin(null);
    cancel?.();
  };
  if (!login || login.state === "failed") {
    return html`<div class="stack">${error && html`<${Failure} error=${error} />`}
      ${login && html`<${Failure} error=${new Error(login.problem)} />`}
      <${Choice} label=${t("How to log in")} value=${chosen.method} onChange=${(method) => setChosen({ ...chosen, method })}
        options=${[["qr", t("QR code, with a device that is logged in")], ["phone", t("Phone number and code")], ["session", t("Session string of Telethon")]]} />
      ${askName && html`<label class="field"><span>${t("Name of the account in SaveAny")}</span><input value=${chosen.name} maxlength="32" onInput=${(event) => setChosen({ ...chosen, name: event.target.value })} /></label>`}
      ${chosen.method === "session" && html`<label class="field"><span>${t("Session string")}</span><input type="password" autocomplete="off" value=${chosen.session} onInput=${(event) => setChosen({ ...chosen, session: event.target.value })} /></label>`}
      <footer>${cancel && html`<${Button} label=${t("Cancel")} action=${stop} />`}<${Button} kind="main" label=${login ? t("Try again") : t("Log in")} action=${begin} /></footer></div>`;
  }
  return html`<div class="stack" aria-live="polite">${error && html`<${Failure} error=${error} />`}
    ${login.state === "working" && html`<${Loading} rows=${2} />`}
    ${login.state === "shows_qr" && html`${login.problem && html`<p class="hint">${login.problem}</p>`}
      <p>${t("Scan this with Telegram on another device: Settings, Devices, Link Desktop Device. The code is renewed every 30 seconds.")}</p>
      <img class="qr login-qr" src=${login.qr_png} width="260" height="260" alt=${t("QR code for Telegram")} data-link=${login.qr_link} />`}
    ${login.state === "asks" && html`<${Ask} key=${`${login.question}${login.is_wrong}`} login=${login} answered=${setLogin} />`}
    ${login.state === "done" && html`<p class="good-line" role="status">${t("{owner} is logged in.", { owner: login.owner })}</p>`}
    ${isRunning && html`<footer><${Button} label=${t("Cancel")} action=${stop} /></footer>`}</div>`;
}

function Ask({ login, answered }) {
  const [text, setText] = useState("");
  const send = async (event) => {
    event?.preventDefault();
    answered(await post(`logins/${login.login_id}/answer`, { answer: text }));
  };
  return html`<form onSubmit=${(event) => send(event)}>
    ${login.question === "code" && login.sent && html`<p>${login.sent}</p>`}
    ${login.is_wrong && html`<p class="problem" role="alert">${WRONG[login.question]()}</p>`}
    <label class="field"><span>${QUESTIONS[login.question]()}</span><input autofocus value=${text} onInput=${(event) => setText(event.target.value)}
      type=${login.question === "password" ? "password" : "text"} inputmode=${login.question === "phone" ? "tel" : undefined} autocomplete=${login.question === "code" ? "one-time-code" : "off"} required /></label>
    <footer><${Button} kind="main" label=${t("Continue")} disabled=${!text.trim()} action=${() => send()} /></footer></form>`;
}
