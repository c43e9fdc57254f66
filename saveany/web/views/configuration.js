// Every setting of config.toml: what it means, where its value comes from, and a field to change it.
import { useEffect, useState } from "preact/hooks";
import { get, patch, post, restart } from "../api.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Button, Choice, confirm, Empty, Failure, Loading, Tag, tell, useLoaded } from "../parts/ui.js";
import { ValueField, entered, shown } from "../parts/valuefield.js";
import { route, to } from "../router.js";
import { t } from "../texts.js";

/** Views in which lists of tables are changed. */
const VIEWS = { users: "users", storages: "storages" };

/** Stands for all tables in the choice of one. */
const ALL = "*";

export default function Configuration() {
  const [found, error, reload] = useLoaded((stop) => get("config", {}, stop));
  const [query, setQuery] = useState(route.value.query.q ?? "");
  const [only, setOnly] = useState(ALL);
  const [edits, setEdits] = useState({});
  const [problems, setProblems] = useState({});
  const [isAway, setAway] = useState(false);
  const count = Object.keys(edits).length;
  useEffect(() => {
    const warn = (event) => count && event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [count]);
  if (isAway) return html`<p class="hint" role="status">${t("SaveAny starts again")}</p><${Loading} />`;
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const settings = found.settings.filter((each) => matches(each, query) && (query || only === ALL || each.table === only));
  const tables = found.tables.filter((table) => settings.some((each) => each.table === table.name));
  const values = () => Object.fromEntries(Object.entries(edits).map(([key, text]) => [key, text === null || Array.isArray(text) ? text : entered(found.settings.find((each) => each.key === key), text)]));
  const attempt = async (work) => {
    setProblems({});
    try {
      await work();
    } catch (failure) {
      const known = failure.details?.filter((each) => each.field in edits) ?? [];
      if (!known.length) throw failure;
      setProblems(Object.fromEntries(known.map((each) => [each.field, each.message])));
      setQuery(known[0].field);
    }
  };
  const check = () => attempt(async () => (await post("config/check", { values: values() }), tell(t("These settings can be saved"))));
  const save = () =>
    attempt(async () => {
      const state = await patch("config", { values: values() });
      setEdits({});
      tell(state.waiting.length ? t("Saved. Restart SaveAny to use it.") : t("Saved"));
      reload();
    });
  const again = async () => {
    if (!(await confirm(t("Restart SaveAny?"), t("Running tasks continue after it. The page is back in some seconds."), t("Restart"), "main"))) return;
    setAway(true);
    try {
      await restart();
    } finally {
      setAway(false);
      reload();
    }
  };
  const change = (setting, value) => setEdits({ ...edits, [setting.key]: value });
  const undo = (key) => setEdits(Object.fromEntries(Object.entries(edits).filter(([each]) => each !== key)));
  return html`<div class="tools"><label class="search"><${Icon} name="search" /><span class="unseen">${t("Search settings")}</span>
      <input type="search" placeholder=${t("Search settings")} value=${query} onInput=${(event) => setQuery(event.target.value)} /></label>
      <${Choice} hidden label=${t("Part")} value=${query ? ALL : only} onChange=${(value) => (setOnly(value), setQuery(""))}
        options=${[[ALL, t("All parts")], ...found.tables.map(({ name }) => [name, name || t("General")])]} />
      <span class="dim file-name"><code>${found.file || t("no file")}</code></span></div>
    ${found.waiting.length > 0 && html`<div class="banner inset" role="status"><p>${t("These settings wait for a restart: {keys}", { keys: found.waiting.join(", ") })}</p>
      ${found.can_restart && html`<${Button} kind="main" icon="retry" label=${t("Restart")} action=${again} />`}</div>`}
    ${found.warnings.map((text) => html`<p key=${text} class="problem warn"><${Icon} name="warning" />${text}</p>`)}
    ${!settings.length && html`<${Empty} icon="search" title=${t("No setting matches")} />`}
    ${tables.map((table) => html`<section key=${table.name} class="card"><h2>${table.name ? html`<code>${`[${table.name}]`}</code>` : t("General")}</h2>
      ${table.name && html`<p class="hint">${table.about}</p>`}
      ${settings.filter((each) => each.table === table.name).map((setting) => html`<${Setting} key=${setting.key} setting=${setting} edited=${edits[setting.key]} isEdited=${setting.key in edits}
        problem=${problems[setting.key]} change=${(value) => change(setting, value)} undo=${() => undo(setting.key)} />`)}</section>`)}
    ${count > 0 && html`<div class="selection" role="toolbar" aria-label=${t("Changes")}><strong>${t("Changed: {n}", { n: count })}</strong>
      <${Button} label=${t("Discard")} action=${() => (setEdits({}), setProblems({}))} /><${Button} icon="check" label=${t("Check")} action=${check} /><${Button} kind="main" label=${t("Save")} action=${save} /></div>`}`;
}

function matches(setting, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const text = `${setting.key} ${setting.about} ${setting.table}`.toLowerCase();
  return words.every((each) => text.includes(each));
}

function Setting({ setting, edited, isEdited, problem, change, undo }) {
  if (setting.kind === "tables") {
    const view = VIEWS[setting.key];
    if (!view) return html`<${Tables} setting=${setting} rows=${isEdited ? (edited ?? []) : setting.value} isEdited=${isEdited} problem=${problem} change=${change} undo=${undo} />`;
    return html`<div class="value"><code>${setting.name}</code><p class="hint">${setting.about}</p>
      <p><a class="button" href=${to(view)}>${t("Change them here")}</a></p></div>`;
  }
  const locked = setting.source === "environment";
  const value = isEdited ? (edited === null ? shown(setting, setting.default) : edited) : shown(setting, setting.value);
  const isShared = !setting.is_secret && setting.source === "file";
  return html`<${ValueField} field=${setting} value=${value} problem=${problem} locked=${locked} onChange=${change}>
    <p class="tags">${locked && html`<${Tag} kind="warn">${t("Locked: {variable} of the environment sets it", { variable: setting.variable })}</${Tag}>`}
      ${setting.source === "file" ? html`<${Tag}>${t("from the file")}</${Tag}>` : !locked && html`<${Tag} kind="faint">${t("default")}</${Tag}>`}
      ${!setting.needs_restart && html`<${Tag} kind="good">${t("applies at once")}</${Tag}>`}
      ${isEdited && html`<${Tag} kind="main">${setting.needs_restart ? t("changed; needs a restart") : t("changed")}</${Tag}><${Button} kind="plain" label=${t("Undo")} action=${undo} />`}
      ${!isEdited && !locked && setting.source === "file" && (isShared || setting.is_secret) && html`<${Button} kind="plain" label=${t("Back to the default")} action=${() => change(null)} />`}</p></${ValueField}>`;
}

/** A list of tables: its rows, which can be removed, and a form for a new one. */
function Tables({ setting, rows, isEdited, problem, change, undo }) {
  const [added, setAdded] = useState(null);
  const locked = setting.source === "environment";
  const add = () => {
    const filled = setting.fields.map((field) => [field.name, entered(field, added[field.name] ?? "")]).filter(([, value]) => value !== null);
    change([...rows, Object.fromEntries(filled)]);
    setAdded(null);
  };
  const cell = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? ""));
  return html`<div class="value tables"><code>${setting.name}</code><p class="hint">${setting.about}</p>
    ${rows.length > 0 && html`<div class="scroll"><table><thead><tr>${setting.fields.map((field) => html`<th key=${field.name} scope="col" title=${field.about}><code>${field.name}</code></th>`)}<th></th></tr></thead>
      <tbody>${rows.map((row, n) => html`<tr key=${row.name ?? n}>${setting.fields.map((field) => html`<td key=${field.name}><bdi>${field.is_secret ? "••••" : cell(row[field.name] ?? field.default)}</bdi></td>`)}
        <td>${!locked && html`<${Button} short icon="trash" label=${t("Remove {name}", { name: row.name ?? n + 1 })} action=${() => change(rows.filter((_, other) => other !== n))} />`}</td></tr>`)}</tbody></table></div>`}
    ${!rows.length && html`<p class="dim">${t("There is none")}</p>`}
    ${problem && html`<p class="problem" role="alert">${problem}</p>`}
    ${added && html`<fieldset class="stack-gap"><legend>${t("New entry")}</legend>${setting.fields.map((field) => html`<${ValueField} key=${field.name} field=${{ ...field, key: `${setting.key}.${field.name}` }} value=${added[field.name] ?? shown(field, field.default)}
      onChange=${(value) => setAdded({ ...added, [field.name]: value })} />`)}
      <p class="buttons"><${Button} label=${t("Cancel")} action=${() => setAdded(null)} /><${Button} kind="main" label=${t("Add to the list")} action=${add} /></p></fieldset>`}
    <p class="tags">${locked && html`<${Tag} kind="warn">${t("Locked: {variable} of the environment sets it", { variable: setting.variable })}</${Tag}>`}
      ${setting.source === "file" ? html`<${Tag}>${t("from the file")}</${Tag}>` : !locked && html`<${Tag} kind="faint">${t("default")}</${Tag}>`}
      ${!locked && !added && html`<${Button} icon="add" label=${t("Add an entry")} aria-label=${`${t("Add an entry")}: ${setting.key}`} action=${() => setAdded({})} />`}
      ${isEdited && html`<${Tag} kind="main">${setting.needs_restart ? t("changed; needs a restart") : t("changed")}</${Tag}><${Button} kind="plain" label=${t("Undo")} action=${undo} />`}</p></div>`;
}
