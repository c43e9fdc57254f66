// The first page of a SaveAny that has no configuration: it asks for the code in the log.
import { useState } from "preact/hooks";
import { get, logIn, post, untilItAnswers } from "../api.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Button, Copy, Failure, useLoaded } from "../parts/ui.js";
import { go } from "../router.js";
import { LANGUAGES, language, setLanguage, t } from "../texts.js";

export default function Claim() {
  const [state, error, reload] = useLoaded((stop) => get("setup", {}, stop));
  const [form, setForm] = useState({ code: "", token: "", network: undefined });
  const [problem, setProblem] = useState("");
  const [token, setToken] = useState("");
  document.title = `${t("Set up")} · SaveAny`;
  if (token) return html`<${Started} token=${token} />`;
  const submit = async (event) => {
    event?.preventDefault();
    setProblem("");
    try {
      const network = form.network ?? !state?.is_local;
      setToken((await post("setup", { code: form.code, token: form.token, network })).token);
    } catch (failure) {
      setProblem(failure.message);
    }
  };
  return html`<main class="alone" id="main"><form class="login wide" onSubmit=${submit}>
    <p class="brand"><${Icon} name="download" />SaveAny</p>
    <h1>${t("Welcome")}</h1>
    <p>${t("SaveAny is not set up yet. It has written a code to its log: type it here, to show that this is your SaveAny.")}</p>
    ${error && html`<${Failure} error=${error} retry=${reload} />`}
    <label class="field"><span>${t("Code")}</span><input class="code" value=${form.code} autofocus required autocomplete="off" spellcheck="false" maxlength="20"
      placeholder="XXXXX-XXXXX" onInput=${(event) => setForm({ ...form, code: event.target.value.toUpperCase() })} aria-describedby="code-hint" /></label>
    <p class="hint" id="code-hint">${t("It is where you started SaveAny; with Docker: docker compose logs api. It works once, for 15 minutes.")}</p>
    <details><summary>${t("More options")}</summary><div class="stack-gap">
      <label class="field"><span>${t("Token, with which you log in later")}</span><input type="password" minlength="12" autocomplete="new-password" value=${form.token}
        placeholder=${t("A random one")} onInput=${(event) => setForm({ ...form, token: event.target.value })} /></label>
      ${state?.chooses_network && html`<label class="check"><input type="checkbox" checked=${form.network ?? !state.is_local} onChange=${(event) => setForm({ ...form, network: event.target.checked })} />
        <span>${t("Other devices in my network may use it, with the token")}</span></label>`}</div></details>
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    <${Button} kind="main" label=${t("Continue")} disabled=${form.code.length < 10} action=${() => submit()} />
    <p class="hint languages">${Object.entries(LANGUAGES).map(([tag, name]) => html`<button type="button" class="button plain"
      lang=${tag} aria-pressed=${tag === language()} onClick=${() => setLanguage(tag)}>${name}</button>`)}</p>
  </form></main>`;
}

/** The token, while SaveAny starts with its new configuration. */
function Started({ token }) {
  const next = async () => {
    await untilItAnswers(false);
    await logIn({ token });
    go("#/setup/telegram", true);
    dispatchEvent(new Event("saveany-claimed"));
  };
  return html`<main class="alone" id="main"><div class="login wide"><p class="brand"><${Icon} name="download" />SaveAny</p>
    <h1>${t("Keep this token")}</h1>
    <p>${t("You log in with it on other devices. It is also in the file config.toml, as api.token.")}</p>
    <label class="field"><span>${t("Token")}</span><input class="token" readonly value=${token} onFocus=${(event) => event.target.select()} /></label>
    <p class="buttons"><${Copy} text=${token} /><${Button} kind="main" label=${t("Continue")} action=${next} /></p></div></main>`;
}
