// Whether everything works, and what has been done so far.
import { useEffect } from "preact/hooks";
import { get } from "../api.js";
import { ago, bytes } from "../format.js";
import { Backup } from "../parts/backup.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Log, Space } from "../parts/log.js";
import { Failure, Loading, Tag, useLoaded } from "../parts/ui.js";
import { language, plural, t } from "../texts.js";

const EVERY_MS = 5000;

async function load(stop) {
  const [ready, info, workers, queue, stats, types] = await Promise.all([
    fetch("readyz", { headers: { "Accept-Language": language() }, signal: stop }).then((reply) => reply.json()),
    fetch("api/info", { signal: stop }).then((reply) => reply.json()),
    get("workers", {}, stop),
    get("queue", {}, stop),
    get("stats", {}, stop),
    get("task-types", {}, stop),
  ]);
  return { ready, info, workers: workers.workers, queue, stats, types: types.details };
}

const KINDS = { video: () => t("Videos"), audio: () => t("Music"), image: () => t("Pictures"), text: () => t("Texts"), other: () => t("Others") };

export default function Status() {
  const [found, error, reload] = useLoaded(load);
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && reload(), EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const { ready, info, workers, queue, stats, types } = found;
  const inboxes = workers.flatMap((each) => each.inboxes.map((one) => ({ ...one, host: each.host })));
  const problems = ready.details ?? (ready.status === "ready" ? [] : [{ field: "", message: ready.message }]);
  return html`<section class="card">${problems.length
      ? html`<h2 class="bad">${t("Not ready")}</h2><ul class="problems">${problems.map((each) => html`<li key=${each.field} class="problem"><${Icon} name="warning" /><span><strong>${each.field}</strong> ${each.message}</span></li>`)}</ul>`
      : html`<h2 class="good-line"><${Icon} name="check" />${t("Everything works")}</h2>`}
      <dl class="facts"><dt>${t("Version")}</dt><dd>${info.version}</dd><dt>${t("Running for")}</dt><dd>${info.uptime}</dd>
        <dt>${t("Queue")}</dt><dd>${t("{running} running, {queued} waiting, {paused} paused", { running: queue.running_tasks, queued: queue.queued_tasks, paused: queue.paused_tasks })}</dd>
        <dt>${t("Sent for links")}</dt><dd>${info.total_bandwidth}, ${plural("{n} download", "{n} downloads", info.files_served)}</dd>
        <dt>${t("Saved")}</dt><dd>${plural("{n} file", "{n} files", stats.files)}, ${bytes(stats.bytes)}</dd></dl></section>
    <div class="cards"><section class="card"><h2>${t("Workers")}</h2>
      ${workers.length ? html`<table><thead><tr><th>${t("Host")}</th><th>${t("Process")}</th><th>${t("Started")}</th><th class="number">${t("Tasks")}</th></tr></thead>
        <tbody>${workers.map((each) => html`<tr key=${each.id}><td><bdi>${each.host}</bdi></td><td>${each.pid}</td><td>${ago(each.started_at)}</td><td class="number">${each.tasks.length}</td></tr>`)}</tbody></table>`
        : html`<p class="bad">${t("No worker is running.")}</p>`}</section>
    ${inboxes.length > 0 && html`<section class="card"><h2>${t("Watched folders")}</h2><ul class="sources">${inboxes.map((each) => html`<li key=${`${each.host}:${each.folder}`}><${Tag} kind=${each.problem ? "bad" : "good"}>${each.problem ? t("Problem") : t("Watched")}</${Tag}>
        <span><bdi>${each.folder}</bdi> <small class="dim">${each.host}</small>${each.problem && html`<br /><small>${each.problem}</small>`}</span></li>`)}</ul></section>`}
    <section class="card"><h2>${t("Saved files")}</h2><table><tbody>${Object.entries(stats.by_type).map(([kind, sum]) => html`<tr key=${kind}><td>${KINDS[kind]?.() ?? kind}</td><td class="number">${sum.files}</td><td class="number">${bytes(sum.bytes)}</td></tr>`)}</tbody></table>
      ${!stats.files && html`<p class="dim">${t("Nothing has been saved yet")}</p>`}</section><${Space} /></div>
    <section class="card"><h2>${t("Sources")}</h2><ul class="sources">${types.map((each) => html`<li key=${each.type}><${Tag} kind=${each.available ? "good" : ""}>${each.available ? t("Ready") : t("Off")}</${Tag}>
      <span>${each.title}${each.error && html`<small class="dim"> ${each.error}</small>`}</span></li>`)}</ul></section><${Backup} /><${Log} />`;
}
