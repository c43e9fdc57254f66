// What all views are made of: buttons, messages, states of being empty or in trouble, dialogs.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";

/** A button. While the promise of `action` is pending it cannot be pressed; its error is shown as a message. */
export function Button({ icon, label, action, kind = "", short = false, ...rest }) {
  const [isBusy, setBusy] = useState(false);
  async function press(event) {
    event.stopPropagation();
    if (isBusy) return;
    setBusy(true);
    try {
      await action(event);
    } catch (error) {
      tell(error.message, "bad");
    } finally {
      setBusy(false);
    }
  }
  return html`<button type="button" class=${`button ${kind}${short ? " short" : ""}`} onClick=${press}
    aria-disabled=${isBusy ? "true" : undefined} title=${short ? label : undefined} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}<span>${label}</span></button>`;
}

/** A button that copies a text. */
export function Copy({ text, label = t("Copy"), ...rest }) {
  return html`<${Button} icon="copy" label=${label} action=${() => copy(text)} ...${rest} />`;
}

/** Copy a text, also on pages without TLS, where browsers have no clipboard for scripts. */
export async function copy(/** @type {string} */ text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  tell(t("Copied"));
}

/** What is shown where there is nothing yet. */
export function Empty({ icon, title, children }) {
  return html`<div class="empty"><${Icon} name=${icon} /><p class="empty-title">${title}</p><div>${children}</div></div>`;
}

/** An error, with what to do. */
export function Failure({ error, retry }) {
  return html`<div class="failure" role="alert"><${Icon} name="warning" /><p>${error.message}</p>
    ${retry && html`<${Button} icon="retry" label=${t("Try again")} action=${retry} />`}</div>`;
}

/** Rows that stand for those that are being loaded. */
export function Loading({ rows = 4 }) {
  return html`<div class="loading" role="status" aria-busy="true" aria-label=${t("Loading")}>
    ${Array.from({ length: rows }, () => html`<div class="loading-row"></div>`)}</div>`;
}

/** Load something when the parts of `key` change: `[value, error, reload]`. What was loaded stays visible.
 * @template T @param {(stop: AbortSignal) => Promise<T>} load @param {unknown[]} [key]
 * @returns {[T | undefined, Error | undefined, () => void]} */
export function useLoaded(load, key = []) {
  const [state, setState] = useState(/** @type {{value: T | undefined, error: Error | undefined}} */ ({ value: undefined, error: undefined }));
  const [count, setCount] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    load(stop.signal).then(
      (value) => !stop.signal.aborted && setState({ value, error: undefined }),
      (error) => !stop.signal.aborted && setState((before) => ({ value: before.value, error })),
    );
    return () => stop.abort();
  }, [...key, count]);
  return [state.value, state.error, () => setCount((n) => n + 1)];
}

/** Load again every few seconds as long as something is not as it will be, and the page is visible. */
export function usePolling(/** @type {boolean} */ isNeeded, /** @type {() => void} */ reload, every = 3000) {
  useEffect(() => {
    if (!isNeeded) return undefined;
    const timer = setInterval(() => document.hidden || reload(), every);
    return () => clearInterval(timer);
  }, [isNeeded]);
}

/** A dialog over the page. `close` is called for Escape, too. */
export function Dialog({ title, close, children, wide = false }) {
  const ref = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    ref.current.showModal();
    // not the button that closes it, which is the first
    if (!ref.current.querySelector("[autofocus]")) ref.current.querySelector("input:enabled:not([type=checkbox]), textarea")?.focus();
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  const outside = (event) => event.target === ref.current && close();
  return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-label=${title} onClose=${close} onMouseDown=${outside}>
    <div class="dialog"><header><h2><bdi>${title}</bdi></h2>
    <button type="button" class="button plain" onClick=${close} aria-label=${t("Close")}><${Icon} name="cancel" /></button></header>
    ${children}</div></dialog>`;
}

/** @type {import("@preact/signals").Signal<any>} */
const question = signal(null);

/** Ask for a confirmation: true if the reader agrees. */
export function confirm(title, text, agree, kind = "danger") {
  return new Promise((resolve) => {
    question.value = { title, text, agree, kind, resolve };
  });
}

/** Ask for a text; null if the reader does not want to give one. One that `isLong` may have lines, or be empty. */
export function ask(title, label, value, agree, isLong = false) {
  return new Promise((resolve) => {
    question.value = { title, label, value, agree, isLong, kind: "main", resolve };
  });
}

/** Where `confirm` and `ask` show their dialogs. */
export function Questions() {
  const asked = question.value;
  const [value, setValue] = useState("");
  useEffect(() => setValue(asked?.value ?? ""), [asked]);
  if (!asked) return null;
  const answer = (result) => {
    question.value = null;
    asked.resolve(result);
  };
  const no = () => answer(asked.label ? null : false);
  const yes = () => answer(asked.label ? value : true);
  return html`<${Dialog} title=${asked.title} close=${no}>
    <form method="dialog" onSubmit=${(event) => (event.preventDefault(), yes())}>
      ${asked.text && html`<p>${asked.text}</p>`}
      ${asked.label && html`<label class="field"><span>${asked.label}</span>
        ${asked.isLong ? html`<textarea rows="6" maxlength="4096" dir="auto" value=${value} onInput=${(event) => setValue(event.target.value)} autofocus></textarea>`
          : html`<input value=${value} onInput=${(event) => setValue(event.target.value)} required autofocus />`}</label>`}
      <footer><button type="button" class="button" onClick=${no}>${t("Cancel")}</button>
      <button class=${`button ${asked.kind}`} autofocus=${!asked.label}>${asked.agree}</button></footer>
    </form></${Dialog}>`;
}

/** @type {import("@preact/signals").Signal<{id: number, text: string, kind: string, undo?: () => Promise<void>}[]>} */
const messages = signal([]);
let lastId = 0;

/** Show a message for some seconds; with `undo`, also a button for that. */
export function tell(text, kind = "good", undo = undefined) {
  const id = (lastId += 1);
  messages.value = [...messages.value.slice(-2), { id, text, kind, undo }];
  setTimeout(() => dismiss(id), kind === "bad" || undo ? 9000 : 3500);
}

function dismiss(/** @type {number} */ id) {
  messages.value = messages.value.filter((each) => each.id !== id);
}

/** Where `tell` shows its messages. */
export function Messages() {
  return html`<div class="messages" role="status">${messages.value.map(
    ({ id, text, kind, undo }) => html`<div key=${id} class=${`message ${kind}`}><p>${text}</p>
      ${undo && html`<${Button} icon="restore" label=${t("Undo")} action=${() => (dismiss(id), undo())} />`}
      <button type="button" class="button plain" aria-label=${t("Close")} onClick=${() => dismiss(id)}><${Icon} name="cancel" /></button></div>`,
  )}</div>`;
}

/** A choice from a list: pairs of value and label. */
export function Choice({ label, value, options, onChange, hidden = false }) {
  return html`<label class=${hidden ? "choice" : "field"}><span class=${hidden ? "unseen" : ""}>${label}</span>
    <select value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([each, name]) => html`<option value=${each} selected=${each === value}>${name}</option>`)}
    </select></label>`;
}

/** The state of something, as a word with a colour. */
export function Tag({ kind = "", children }) {
  return html`<span class=${`tag ${kind}`}>${children}</span>`;
}
