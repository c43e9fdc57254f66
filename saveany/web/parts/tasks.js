// Tasks as rows, and what can be done with them.
import { useState } from "preact/hooks";
import { get, may, patch, post, remove } from "../api.js";
import { bytes, duration, place, speed, taskName, time } from "../format.js";
import { refresh } from "../live.js";
import { to } from "../router.js";
import { plural, t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, Copy, Failure, Loading, Tag, tell, useLoaded } from "./ui.js";

/** @type {Record<string, [icon: string, label: () => string, run: (id: string) => Promise<unknown>, fits: (task: any) => boolean]>} */
export const ACTIONS = {
  pause: ["pause", () => t("Pause"), (id) => post(`tasks/${id}/pause`), (task) => isOpen(task) && task.stage !== "paused"],
  resume: ["resume", () => t("Resume"), (id) => post(`tasks/${id}/resume`), (task) => isOpen(task) && task.stage === "paused"],
  stop: ["stop", () => t("Stop and keep"), (id) => post(`tasks/${id}/stop`), (task) => isOpen(task) && (task.progress?.done_files > 0 || isRecording(task))],
  retry: ["retry", () => t("Retry"), (id) => post(`tasks/${id}/retry`), (task) => ["failed", "canceled"].includes(task.status)],
  first: ["up", () => t("Move to the front"), (id) => patch(`tasks/${id}`, { priority: 100 }), (task) => task.status === "queued" && task.priority < 100],
  cancel: ["cancel", () => t("Cancel"), (id) => remove(`tasks/${id}`), (task) => isOpen(task)],
  forget: ["trash", () => t("Remove from the list"), (id) => remove(`history/${id}`), (task) => !isOpen(task)],
};

function isOpen(task) {
  return task.status === "queued" || task.status === "running";
}

/** Whether it records a live stream: nobody knows how large it will be. */
function isRecording(task) {
  return task.type === "live" && task.status === "running" && !["joining", "uploading", "verifying"].includes(task.stage);
}

/** The actions that fit a task. */
export function actionsFor(task, names = Object.keys(ACTIONS)) {
  return may("tasks") ? names.filter((name) => ACTIONS[name][3](task)) : [];
}

/** Do the same with several tasks, and say with how many it did not work. */
export async function runAll(name, tasks) {
  const fitting = tasks.filter((task) => ACTIONS[name][3](task));
  const results = [];
  for (let start = 0; start < fitting.length; start += 8) {
    const some = fitting.slice(start, start + 8);
    results.push(...(await Promise.allSettled(some.map((task) => ACTIONS[name][2](task.task_id)))));
  }
  refresh();
  const failed = results.filter((each) => each.status === "rejected");
  if (failed.length) tell(plural("{n} task: {reason}", "{n} tasks: {reason}", failed.length, { reason: failed[0].reason.message }), "bad");
}

const STAGES = {
  resolving: () => t("Looking up the link"),
  downloading: () => t("Downloading"),
  uploading: () => t("Uploading"),
  verifying: () => t("Verifying"),
  joining: () => t("Joining"),
  paused: () => t("Paused"),
};
const STATUSES = {
  queued: () => t("Waiting"),
  running: () => t("Running"),
  completed: () => t("Saved"),
  failed: () => t("Failed"),
  canceled: () => t("Canceled"),
};
const KINDS = { completed: "good", failed: "bad", running: "main" };

/** The state of a task as a word. */
export function stateOf(task) {
  return isRecording(task) ? t("Recording") : (STAGES[task.stage] ?? STATUSES[task.status])();
}

/** A task. `toggle` selects it; without, it cannot be selected. */
export function TaskRow({ task, isSelected = false, toggle, after, showUser = false }) {
  const [isOpen_, setOpen] = useState(false);
  const name = taskName(task);
  const open = () => setOpen(!isOpen_);
  const done = after ?? refresh;
  return html`<li class=${`task ${task.status}${isSelected ? " selected" : ""}`}>
    <div class="task-main">
      ${toggle && html`<input type="checkbox" checked=${isSelected} aria-label=${t("Select {name}", { name })}
        onClick=${(event) => toggle(event.shiftKey)} />`}
      <button type="button" class="task-name" onClick=${open} aria-expanded=${isOpen_ ? "true" : "false"}>
        <bdi>${name}</bdi></button>
      <span class="task-place"><bdi>${place(task.storage, task.path)}</bdi>${showUser && ` · ${t("user {id}", { id: task.user_id })}`}</span>
      <${Amount} task=${task} />
      <span class="task-state"><${Tag} kind=${KINDS[task.status]}>${stateOf(task)}</${Tag}></span>
      <span class="task-actions">${actionsFor(task).filter((each) => each !== "forget" && each !== "first" || isOpen_).map((each) => {
        const [icon, label, run] = ACTIONS[each];
        return html`<${Button} key=${each} short icon=${icon} label=${label()} aria-label=${`${label()}: ${name}`}
          action=${async () => (await run(task.task_id), done())} />`;
      })}</span>
    </div>
    <${Bar} task=${task} />
    ${task.waiting && html`<p class="task-note"><${Icon} name="warning" />${task.waiting}</p>`}
    ${task.error && html`<p class="task-note bad"><${Icon} name="warning" /><span>${task.error}</span>
      <${Copy} short text=${task.error} label=${t("Copy error")} /></p>`}
    ${isOpen_ && html`<${Details} task=${task} />`}
  </li>`;
}

function Amount({ task }) {
  const { progress } = task;
  const moved = Math.max(progress.downloaded_bytes, progress.uploaded_bytes);
  if (task.status !== "running") {
    const at = task.finished_at ? time(task.finished_at) : "";
    return html`<span class="task-size">${progress.total_bytes ? bytes(progress.total_bytes) : ""}</span>
      <span class="task-speed">${at}</span>`;
  }
  if (isRecording(task)) {
    return html`<span class="task-size">${bytes(progress.downloaded_bytes)}</span><span class="task-speed">${speed(progress.speed_bps)}</span>
      <span class="task-left">${t("for {time}", { time: duration((Date.now() - Date.parse(task.started_at)) / 1000) })}</span>`;
  }
  return html`<span class="task-size">${progress.total_bytes ? t("{done} of {all}", { done: bytes(moved), all: bytes(progress.total_bytes) }) : bytes(moved)}</span>
    <span class="task-speed">${speed(progress.speed_bps)}</span>
    <span class="task-left">${duration(progress.eta_seconds)}</span>`;
}

function Bar({ task }) {
  if (!isOpen(task)) return null;
  if (isRecording(task)) return html`<div class="bar unknown" role="progressbar" aria-label=${taskName(task)}><div></div></div>`;
  const part = Math.min(100, task.progress.percent);
  return html`<div class=${`bar${task.stage === "paused" ? " paused" : ""}`} role="progressbar" aria-label=${taskName(task)}
    aria-valuenow=${Math.round(part)} aria-valuemin="0" aria-valuemax="100"><div style=${{ transform: `scaleX(${part / 100})` }}></div></div>`;
}

const ITEM_KINDS = { completed: "good", failed: "bad", running: "main", finishing: "main", skipped: "" };
const ITEM_STATES = {
  queued: () => t("Waiting"),
  running: () => t("Running"),
  finishing: () => t("Finishing"),
  completed: () => t("Saved"),
  skipped: () => t("Skipped"),
  failed: () => t("Failed"),
};

function Details({ task }) {
  const [found, error, reload] = useLoaded((stop) => get(`tasks/${task.task_id}`, {}, stop), [task.task_id, task.status, task.progress.done_files]);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} rows=${2} />`;
  return html`<div class="task-details">
    <dl class="facts"><dt>${t("Added")}</dt><dd>${time(found.created_at)}</dd>
      <dt>${t("Kind")}</dt><dd>${found.type}</dd>
      <dt>${t("Attempts")}</dt><dd>${found.attempts}</dd>
      ${found.priority ? html`<dt>${t("Priority")}</dt><dd>${found.priority}</dd>` : null}
      <dt>${t("Id")}</dt><dd><code>${found.task_id}</code></dd></dl>
    ${found.items.length > 0 && html`<ul class="items">${found.items.map((item) => html`<li key=${item.path}>
      <bdi class="item-name">${item.name}</bdi><span class="number">${bytes(item.size)}</span>
      <${Tag} kind=${ITEM_KINDS[item.status]}>${ITEM_STATES[item.status]()}</${Tag}>
      ${item.duplicate && html`<span class="dim">${t("the same as {name}", { name: item.duplicate.name })}</span>`}
      ${item.note && html`<span class="dim">${item.note}</span>`}
      ${item.error && html`<span class="bad">${item.error}</span>`}</li>`)}</ul>
      ${found.items_total > found.items.length && html`<p class="dim">${plural("{n} more file", "{n} more files", found.items_total - found.items.length)}</p>`}`}
    ${task.status === "completed" && may("files") && html`<p><a class="button" href=${to("library", { q: found.items[0]?.name })}><${Icon} name="library" /><span>${t("Show in the library")}</span></a></p>`}
  </div>`;
}
