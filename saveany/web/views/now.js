// Running and waiting tasks, and those that ended lately.
import { useEffect } from "preact/hooks";
import { may, session } from "../api.js";
import { areMore, connection, ended, isLoaded, onEnd, tasks } from "../live.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { SelectionBar, useSelection } from "../parts/selection.js";
import { ACTIONS, runAll, TaskRow } from "../parts/tasks.js";
import { Button, Empty, Loading } from "../parts/ui.js";
import { to } from "../router.js";
import { plural, t } from "../texts.js";

export default function Now() {
  const all = [...tasks.value.entries()];
  const running = all.filter(([, task]) => task.value.status === "running");
  const waiting = all.filter(([, task]) => task.value.status !== "running");
  const past = ended.value;
  const selection = useSelection([...running, ...waiting].map(([id]) => id).concat(past.map((task) => task.task_id)));
  useEffect(() => onEnd(() => {}), []);
  if (!isLoaded.value && connection.value !== "offline") return html`<${Loading} />`;
  if (!all.length && !past.length) {
    return html`<${Empty} icon="download" title=${t("Nothing to do")}>
      <p>${t("Paste a link to a Telegram message, a file or a video, and watch it arrive.")}</p>
      ${may("tasks") && html`<a class="button main" href=${to("add")}><${Icon} name="add" /><span>${t("Add links")}</span></a>`}</${Empty}>`;
  }
  const chosen = [...all.map(([, task]) => task.value), ...past].filter((task) => selection.ids.has(task.task_id));
  return html`<${Section} title=${t("Running")} rows=${running} selection=${selection}
      empty=${t("No task is running.")} />
    <${Section} title=${t("Waiting")} rows=${waiting} selection=${selection} />
    ${areMore.value && html`<p class="dim">${t("There are more tasks than are shown here.")}</p>`}
    <section><header class="section"><h2>${t("Ended lately")}</h2><a href=${to("history")}>${t("Whole history")}</a></header>
      ${past.length
        ? html`<ul class="rows">${past.map((task) => html`<${Row} key=${task.task_id} task=${task} selection=${selection} />`)}</ul>`
        : html`<p class="dim">${t("Nothing yet.")}</p>`}</section>
    <${SelectionBar} selection=${selection}>${["pause", "resume", "stop", "retry", "first", "cancel"]
      .filter((name) => chosen.some(ACTIONS[name][3]))
      .map((name) => html`<${Button} key=${name} icon=${ACTIONS[name][0]} label=${ACTIONS[name][1]()}
        action=${async () => (await runAll(name, chosen), selection.clear())} />`)}</${SelectionBar}>`;
}

function Section({ title, rows, selection, empty }) {
  if (!rows.length && !empty) return null;
  return html`<section><header class="section"><h2>${title}</h2>
      <span class="count">${rows.length ? plural("{n} task", "{n} tasks", rows.length) : ""}</span></header>
    ${rows.length
      ? html`<ul class="rows">${rows.map(([id, task]) => html`<${LiveRow} key=${id} task=${task} selection=${selection} />`)}</ul>`
      : html`<p class="dim">${empty}</p>`}</section>`;
}

/** The row of a task that moves: only this is drawn anew. */
function LiveRow({ task, selection }) {
  return html`<${Row} task=${task.value} selection=${selection} />`;
}

function Row({ task, selection }) {
  return html`<${TaskRow} task=${task} isSelected=${selection.ids.has(task.task_id)} showUser=${session.value?.user_id === null}
    toggle=${may("tasks") && ((withShift) => selection.toggle(task.task_id, withShift))} />`;
}
