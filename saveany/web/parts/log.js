// The end of the log, and the space of the storages: loaded only when the reader opens them.
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { bytes } from "../format.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Copy, Failure, Loading, useLoaded } from "./ui.js";

const EVERY_MS = 2000;
const MAX_LINES = 500;

/** The last lines of the log, with those that come while it is open. */
export function Log() {
  const [isOpen, setOpen] = useState(false);
  return html`<section class="card"><details onToggle=${(event) => setOpen(event.target.open)}><summary><h2 class="inline">${t("Log")}</h2></summary>
    ${isOpen && html`<${Lines} />`}</details></section>`;
}

function Lines() {
  const [state, setState] = useState({ lines: null, position: 0, error: null });
  const [text, setText] = useState("");
  const box = useRef(null);
  const last = useRef(state);
  last.current = state;
  useEffect(() => {
    const stop = new AbortController();
    const read = async () => {
      try {
        const now = last.current;
        const found = await get("logs", { after: now.position, limit: MAX_LINES }, stop.signal);
        const isNew = found.lines.length || now.lines === null || now.error;
        if (isNew) setState({ lines: [...(now.lines ?? []), ...found.lines].slice(-MAX_LINES), position: found.position, error: null });
      } catch (error) {
        if (!stop.signal.aborted) setState({ ...last.current, error });
      }
    };
    read();
    const timer = setInterval(() => document.hidden || read(), EVERY_MS);
    return () => (clearInterval(timer), stop.abort());
  }, []);
  const isAtEnd = () => box.current && box.current.scrollHeight - box.current.scrollTop - box.current.clientHeight < 40;
  const follows = useRef(true);
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight;
  }, [state.lines, text]);
  if (state.error && !state.lines) return html`<${Failure} error=${state.error} />`;
  if (!state.lines) return html`<${Loading} rows=${3} />`;
  const shown = state.lines.filter((line) => line.toLowerCase().includes(text.toLowerCase()));
  return html`<div class="stack-gap"><div class="tools"><label class="search"><span class="unseen">${t("Search the log")}</span>
      <input type="search" value=${text} placeholder=${t("Search the log")} onInput=${(event) => setText(event.target.value)} /></label><${Copy} text=${shown.join("\n")} /></div>
    <pre ref=${box} class="log" tabindex="0" aria-label=${t("Log")} onScroll=${() => (follows.current = isAtEnd())}>${shown.join("\n")}</pre>
    ${!shown.length && html`<p class="dim">${t("Nothing has been logged.")}</p>`}
    <p class="hint">${t("Of the processes that were started together with this one; secrets are masked.")}</p></div>`;
}

/** The space of each storage that knows it. */
export function Space() {
  const [found, error, reload] = useLoaded(async (stop) => {
    const { storages } = await get("storages", {}, stop);
    const known = storages.filter((each) => each.capabilities?.usage);
    const sums = await Promise.all(known.map((each) => get(`storages/${encodeURIComponent(each.name)}/usage`, {}, stop).catch((problem) => ({ problem }))));
    return known.map((each, i) => ({ name: each.name, ...sums[i] }));
  });
  return html`<section class="card"><h2>${t("Space")}</h2>${error ? html`<${Failure} error=${error} retry=${reload} />` : !found ? html`<${Loading} rows=${1} />`
    : !found.length ? html`<p class="dim">${t("No storage reports its free space.")}</p>`
    : html`<table><thead><tr><th>${t("Storage")}</th><th class="number">${t("Free")}</th><th class="number">${t("Size")}</th></tr></thead>
      <tbody>${found.map((each) => html`<tr key=${each.name}><td><bdi>${each.name}</bdi>${each.problem && html` <span class="bad">${each.problem.message}</span>`}</td>
        <td class="number">${bytes(each.free)}</td><td class="number">${bytes(each.total)}</td></tr>`)}</tbody></table>`}</section>`;
}
