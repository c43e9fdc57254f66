// How files of a user are saved: the preferences, names, and rules that choose folders.
import { useState } from "preact/hooks";
import { get, patch, post, put } from "../api.js";
import { bytes, place } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Button, Choice, Failure, Loading, tell, useLoaded } from "../parts/ui.js";
import { go, route, to } from "../router.js";
import { LANGUAGES, t } from "../texts.js";

export default function Rules() {
  const [users, error, reload] = useLoaded((stop) => get("users", {}, stop).then((reply) => reply.users));
  const chosen = Number(route.value.query.user) || users?.[0]?.user_id;
  if (error && !users) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!users) return html`<${Loading} />`;
  const user = users.find((each) => each.user_id === chosen) ?? users[0];
  if (!user) return html`<${Failure} error=${new Error(t("There are no users"))} />`;
  return html`${users.length > 1 && html`<div class="tools"><${Choice} label=${t("For user")} value=${String(user.user_id)} options=${users.map((each) => [String(each.user_id), String(each.user_id)])}
      onChange=${(id) => go(to("rules", { user: id }))} /></div>`}
    <div class="rules" key=${user.user_id}><${Preferences} user=${user} /><${RuleList} user=${user} /></div>`;
}

function Preferences({ user }) {
  const [found, error, reload] = useLoaded((stop) => get("preferences", { user_id: user.user_id }, stop));
  const [edits, setEdits] = useState({});
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const form = { ...found, ...edits };
  const set = (name) => (value) => setEdits({ ...edits, [name]: value });
  const save = async () => {
    await patch("preferences", { user_id: user.user_id, ...edits });
    setEdits({});
    tell(t("Saved"));
    reload();
  };
  const storages = user.storages.map((each) => [each, each]);
  return html`<section class="card"><h2>${t("Saving")}</h2>
    <p class="hint">${t("These apply to links in the bot and on this page, unless you say otherwise for a link.")}</p>
    <div class="fields">
      <${Choice} label=${t("Default storage")} value=${form.storage} options=${[["", user.storages[0] ? t("The first: {name}", { name: user.storages[0] }) : t("The first")], ...storages]} onChange=${set("storage")} />
      <label class="field"><span>${t("Default folder")}</span><input value=${form.folder} placeholder="/" onInput=${(event) => set("folder")(event.target.value)} /></label>
      <${Choice} label=${t("If a name is taken")} value=${form.on_conflict || "rename"} onChange=${set("on_conflict")}
        options=${[["rename", t("Keep both")], ["ask", t("Ask me, in the bot")], ["overwrite", t("Replace the old file")], ["skip", t("Do not save")]]} />
      <${Choice} label=${t("If it was saved before")} value=${form.on_duplicate || "save"} onChange=${set("on_duplicate")}
        options=${[["save", t("Save it again")], ["skip", t("Do not save")], ["link", t("List it without another copy")]]} />
      <${Choice} label=${t("The bot asks where to save")} value=${form.silent ? "no" : "yes"} onChange=${(value) => set("silent")(value === "no")} options=${[["yes", t("For each file")], ["no", t("Never (silent mode)")]]} />
      <${Choice} label=${t("Language of the bot")} value=${form.language} options=${[["", t("As in the Telegram app")], ...Object.entries(LANGUAGES)]} onChange=${set("language")} />
      </div><label class="field"><span>${t("Names of files")}</span><input value=${form.template} spellcheck="false" placeholder=${t("Unchanged, or such as {example}", { example: "{{ date|date('%Y-%m-%d') }}_{{ name }}" })} onInput=${(event) => set("template")(event.target.value)} />
        ${found.template_example && !("template" in edits) && html`<small class="hint">${t("Such as {name}", { name: found.template_example })}</small>`}</label>
    <${Shortcuts} shortcuts=${form.shortcuts} storages=${user.storages} change=${set("shortcuts")} />
    <p class="buttons"><${Button} kind="main" label=${t("Save")} disabled=${!Object.keys(edits).length} action=${save} /></p></section>`;
}

/** Folders that the bot offers as buttons. */
function Shortcuts({ shortcuts, storages, change }) {
  const [added, setAdded] = useState({ storage: storages[0] ?? "", folder: "" });
  const add = () => {
    change([...shortcuts, { storage: added.storage || storages[0], folder: added.folder }]);
    setAdded({ ...added, folder: "" });
  };
  return html`<fieldset class="checks"><legend>${t("Folders that the bot offers")}</legend>
    ${shortcuts.map((each, n) => html`<div key=${`${each.storage}:${each.folder}`} class="setting"><span><bdi>${each.storage}:${each.folder}</bdi></span>
      <${Button} icon="trash" label=${t("Remove")} action=${() => change(shortcuts.filter((_, other) => other !== n))} /></div>`)}
    <div class="inline"><${Choice} label=${t("Storage")} hidden value=${added.storage} options=${storages.map((each) => [each, each])} onChange=${(storage) => setAdded({ ...added, storage })} />
      <label class="grow"><span class="unseen">${t("Folder")}</span><input value=${added.folder} placeholder=${t("Folder")} onInput=${(event) => setAdded({ ...added, folder: event.target.value })} /></label>
      <${Button} icon="add" label=${t("Add")} disabled=${!added.folder.trim() || !storages.length} action=${add} /></div></fieldset>`;
}

function RuleList({ user }) {
  const [found, error, reload] = useLoaded((stop) => get("rules", { user_id: user.user_id }, stop));
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  return html`<${RuleEditor} key=${JSON.stringify(found)} user=${user} found=${found} reload=${reload} />`;
}

function RuleEditor({ user, found, reload }) {
  const [rules, setRules] = useState(found.rules);
  const [isOn, setOn] = useState(found.is_on);
  const [problem, setProblem] = useState({ at: -1, text: "" });
  const [preset, setPreset] = useState(user.storages[0] ?? "");
  const isChanged = isOn !== found.is_on || JSON.stringify(rules) !== JSON.stringify(found.rules);
  const edit = (n, text) => setRules(rules.map((each, other) => (other === n ? text : each)));
  const move = (n, by) => {
    const next = [...rules];
    next.splice(n + by, 0, ...next.splice(n, 1));
    setRules(next);
  };
  const save = async () => {
    setProblem({ at: -1, text: "" });
    try {
      await put("rules", { user_id: user.user_id, rules: rules.filter((each) => each.trim()), is_on: isOn });
      tell(t("Saved"));
      reload();
    } catch (failure) {
      const at = failure.details?.[0]?.field.match(/^rules\[(\d+)\]/);
      if (!at) throw failure;
      setProblem({ at: Number(at[1]), text: failure.details[0].message });
    }
  };
  const addPreset = async () => {
    const made = await post("rules/preset", { user_id: user.user_id, storage: preset, folder: "" });
    setRules([...rules, ...made.rules.filter((each) => !rules.includes(each))]);
  };
  return html`<section class="card"><h2>${t("Rules")}</h2>
    <p class="hint">${t("The first rule that matches decides where a file goes. Conditions: name=, text=, chat=, type=video,image, size>100MB, size<2GB, album=yes; then an arrow and STORAGE:FOLDER.")}</p>
    <label class="check"><input type="checkbox" checked=${isOn} onChange=${(event) => setOn(event.target.checked)} /><span>${t("Use the rules")}</span></label>
    <ol class="rule-list">${rules.map((rule, n) => html`<li key=${n}><label class="grow"><span class="unseen">${t("Rule {n}", { n: n + 1 })}</span>
        <input class="code" value=${rule} spellcheck="false" aria-invalid=${problem.at === n ? "true" : undefined} placeholder="name=\\.mkv$ size>100MB -> nas:Movies/{{ year }}" onInput=${(event) => edit(n, event.target.value)} /></label>
      <span class="row-actions always"><${Button} short icon="up" label=${t("Earlier")} disabled=${n === 0} action=${() => move(n, -1)} />
        <${Button} short icon="trash" label=${t("Remove rule {n}", { n: n + 1 })} action=${() => setRules(rules.filter((_, other) => other !== n))} /></span>
      ${problem.at === n && html`<p class="problem" role="alert">${problem.text}</p>`}</li>`)}</ol>
    ${!rules.length && html`<p class="dim">${t("There are no rules: all files go to the default folder.")}</p>`}
    <p class="buttons"><${Button} icon="add" label=${t("Add rule")} action=${() => setRules([...rules, ""])} />
      <${Button} label=${t("Sort by kind of file")} disabled=${!preset} action=${addPreset} />
      ${user.storages.length > 1 && html`<${Choice} hidden label=${t("Storage for them")} value=${preset} options=${user.storages.map((each) => [each, each])} onChange=${setPreset} />`}
      <${Button} kind="main" label=${t("Save")} disabled=${!isChanged} action=${save} /></p>
    <${Trial} user=${user} rules=${rules} /><${ChatTrial} user=${user} rules=${rules} /></section>`;
}

function Trial({ user, rules }) {
  const [name, setName] = useState("Holiday.mkv");
  const [result, setResult] = useState(null);
  const run = async () => setResult(await post("rules/test", { user_id: user.user_id, name: name.trim(), rules: rules.filter((each) => each.trim()) }));
  return html`<div class="inline"><label class="field grow"><span>${t("Try the rules with a file name")}</span><input value=${name} onInput=${(event) => (setName(event.target.value), setResult(null))} /></label>
      <${Button} icon="check" label=${t("Try")} disabled=${!name.trim()} action=${run} /></div>
    ${result && html`<p role="status">${result.rule ? html`<${Icon} name="check" /> ${t("It goes to {place}, because of this rule:", { place: `${result.storage || t("the chosen storage")}:${result.folder}` })} <code>${result.rule}</code>` : t("No rule matches: it goes to the default folder.")}</p>`}`;
}

/** Tries the rules on the files in the newest messages of a chat. */
function ChatTrial({ user, rules }) {
  const [chat, setChat] = useState("");
  const [files, setFiles] = useState(null);
  const run = async () => setFiles((await post("rules/test-chat", { user_id: user.user_id, chat: chat.trim(), rules: rules.filter((each) => each.trim()) })).files);
  return html`<div class="inline"><label class="field grow"><span>${t("Try the rules on the last 50 messages of a chat")}</span>
      <input value=${chat} dir="ltr" spellcheck="false" autocapitalize="off" placeholder="https://t.me/channel" onInput=${(event) => (setChat(event.target.value), setFiles(null))} /></label>
      <${Button} icon="check" label=${t("Try on the chat")} disabled=${!chat.trim()} action=${run} /></div>
    ${files && !files.length && html`<p role="status">${t("These messages have no files.")}</p>`}
    ${files?.length > 0 && html`<ul class="choices tried" role="status">${files.map((each, n) => html`<li key=${n}><span><bdi>${each.name}</bdi><span class="number dim">${bytes(each.size)}</span>
      <bdi>${place(each.storage, each.path)}</bdi>${each.rule ? html`<code>${each.rule}</code>` : html`<span class="dim">${t("no rule matches")}</span>`}</span></li>`)}</ul>`}`;
}
