// Tasks that have ended.
import { useEffect, useState } from "preact/hooks";
import { get, may, remove, session } from "../api.js";
import { onEnd } from "../live.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { More, usePages } from "../parts/pages.js";
import { SelectionBar, useSelection } from "../parts/selection.js";
import { ACTIONS, runAll, TaskRow } from "../parts/tasks.js";
import { TYPES } from "../parts/tasktypes.js";
import { Button, Choice, confirm, Empty, Failure, Loading, tell, useLoaded } from "../parts/ui.js";
import { go, route, to } from "../router.js";
import { plural, t } from "../texts.js";

export default function History() {
  const { query } = route.value;
  const filter = { q: query.q, status: query.status, type: query.type, storage: query.storage, user_id: query.user, from: moment(query.from), to: moment(query.to) };
  const isFiltered = Object.values(filter).some(Boolean);
  const pages = usePages("history", "tasks", filter);
  const [text, setText] = useState(query.q ?? "");
  const selection = useSelection(pages.rows.map((task) => task.task_id));
  useEffect(() => {
    if (text === (query.q ?? "")) return undefined;
    const timer = setTimeout(() => go(to("history", { ...query, q: text }), true), 250);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => onEnd(() => pages.reload()), [JSON.stringify(filter)]);
  const forAll = () => session.value.is_operator && session.value.user_id === null;
  const chosen = pages.rows.filter((task) => selection.ids.has(task.task_id));
  const failed = pages.rows.filter(ACTIONS.retry[3]);
  const run = async (name, tasks) => {
    await runAll(name, tasks);
    selection.clear();
    await pages.reload();
  };
  const clear = async () => {
    if (!(await confirm(forAll() ? t("Clear the history of all users?") : t("Clear the history?"), t("The saved files stay. Tasks that failed can then be retried no more."), t("Clear the history")))) return;
    tell(plural("{n} task removed", "{n} tasks removed", (await remove("history")).removed));
    await pages.reload();
  };
  const states = [["", t("All")], ["completed", t("Saved")], ["failed", t("Failed")], ["canceled", t("Canceled")]];
  return html`<div class="tools"><label class="search"><span class="unseen">${t("Search")}</span><${Icon} name="search" />
      <input type="search" value=${text} placeholder=${t("Search titles and errors")} onInput=${(event) => setText(event.target.value)} /></label>
      <${Choice} hidden label=${t("State")} value=${query.status ?? ""} options=${states} onChange=${(status) => go(to("history", { ...query, status }), true)} />
      ${may("tasks") && failed.length > 0 && html`<${Button} icon="retry" label=${plural("Retry {n} failed", "Retry {n} failed", failed.length)} action=${() => run("retry", failed)} />`}
      ${may("tasks") && pages.rows.length > 0 && html`<${Button} icon="trash" label=${t("Clear the history")} action=${clear} />`}</div>
    <${Filter} query=${query} />
    ${pages.error && html`<${Failure} error=${pages.error} retry=${pages.reload} />`}
    ${!pages.isLoaded && !pages.error && html`<${Loading} />`}
    ${pages.isComplete && !pages.rows.length && html`<${Empty} icon="history" title=${isFiltered ? t("Nothing found") : t("No task has ended yet")} />`}
    ${pages.rows.length > 0 && html`<ul class="rows list">${pages.rows.map((task) => html`<${TaskRow} key=${task.task_id} task=${task} showUser=${session.value?.user_id === null}
      after=${pages.reload} isSelected=${selection.ids.has(task.task_id)} toggle=${may("tasks") && ((shift) => selection.toggle(task.task_id, shift))} />`)}</ul>`}
    <${More} pages=${pages} />
    <${SelectionBar} selection=${selection}>${["retry", "forget"].filter((name) => chosen.some(ACTIONS[name][3])).map((name) => html`<${Button} key=${name}
      icon=${ACTIONS[name][0]} label=${ACTIONS[name][1]()} action=${() => run(name, chosen)} />`)}</${SelectionBar}>`;
}

/** The beginning of a day in the time zone of the reader, as the API takes it; nothing if it is none. */
function moment(/** @type {string | undefined} */ date) {
  const day = new Date(`${date}T00:00`);
  return Number.isNaN(day.getTime()) ? undefined : day.toISOString();
}

/** What else of a task can be filtered by. */
function Filter({ query }) {
  const [users] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  const change = (fields) => go(to("history", { ...query, ...fields }), true);
  const storages = [...new Set((users ?? []).flatMap((each) => each.storages))];
  const [isSet] = useState(() => ["type", "storage", "user", "from", "to"].some((name) => query[name]));
  const day = (name, label) => html`<label class="field"><span>${label}</span><input type="date" value=${query[name] ?? ""} onChange=${(event) => change({ [name]: event.target.value })} /></label>`;
  return html`<details class="options" open=${isSet}><summary>${t("Filter")}</summary><div class="fields">
    <${Choice} label=${t("Source")} value=${query.type ?? ""} options=${[["", t("All")], ...Object.entries(TYPES).map(([type, name]) => [type, name()])]} onChange=${(type) => change({ type })} />
    ${storages.length > 1 && html`<${Choice} label=${t("Storage")} value=${query.storage ?? ""} options=${[["", t("All")], ...storages.map((name) => [name, name])]} onChange=${(storage) => change({ storage })} />`}
    ${users?.length > 1 && html`<${Choice} label=${t("For user")} value=${query.user ?? ""} options=${[["", t("All")], ...users.map((each) => [String(each.user_id), String(each.user_id)])]} onChange=${(user) => change({ user })} />`}
    ${day("from", t("Ended on this day or later"))}${day("to", t("Ended before this day"))}</div></details>`;
}
