// For those who are not logged in.
import { useState } from "preact/hooks";
import { logIn } from "../api.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { LANGUAGES, language, setLanguage, t } from "../texts.js";

export default function Login() {
  const [problem, setProblem] = useState("");
  const [isBusy, setBusy] = useState(false);
  document.title = `${t("Log in")} · SaveAny`;
  async function submit(event) {
    event.preventDefault();
    const secret = String(new FormData(event.target).get("secret")).trim();
    setBusy(true);
    setProblem("");
    try {
      await logIn(secret.startsWith("sa_") ? { key: secret } : { token: secret });
    } catch (error) {
      setProblem(error.status === 401 ? t("This is neither the token nor a key of this SaveAny. Look into api.token of its configuration.") : error.message);
    } finally {
      setBusy(false);
    }
  }
  return html`<main class="alone" id="main"><form class="login" onSubmit=${submit}>
    <p class="brand"><${Icon} name="download" />SaveAny</p>
    <h1>${t("Log in")}</h1>
    <label class="field"><span>${t("Token or key")}</span>
      <input type="password" name="secret" autocomplete="current-password" required autofocus aria-describedby="login-hint" /></label>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <button class="button main" disabled=${isBusy}>${t("Log in")}</button>
    <p class="hint" id="login-hint">${t("The token is api.token in config.toml. A login link works, too: open it in this browser.")}</p>
    <p class="hint languages">${Object.entries(LANGUAGES).map(([tag, name]) => html`<button type="button" class="button plain"
      lang=${tag} aria-pressed=${tag === language()} onClick=${() => setLanguage(tag)}>${name}</button>`)}</p>
  </form></main>`;
}
