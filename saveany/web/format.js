// Numbers, times and names for people.
import { language, t } from "./texts.js";

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

/** A number of bytes, with always the same number of digits, so that nothing moves while it changes. */
export function bytes(/** @type {number | null | undefined} */ size) {
  if (size === null || size === undefined) return "–";
  let value = size;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** Bytes per second. */
export function speed(/** @type {number} */ rate) {
  return `${bytes(Math.round(rate))}/s`;
}

/** Seconds, in their two largest units. */
export function duration(/** @type {number | null} */ seconds) {
  if (seconds === null || seconds === undefined) return "";
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t("{n} s", { n: s });
  if (s < 3600) return t("{m} min {s} s", { m: Math.floor(s / 60), s: String(s % 60).padStart(2, "0") });
  if (s < 86400) return t("{h} h {m} min", { h: Math.floor(s / 3600), m: String(Math.floor(s / 60) % 60).padStart(2, "0") });
  return t("{d} d {h} h", { d: Math.floor(s / 86400), h: Math.floor(s / 3600) % 24 });
}

/** A time: today only the hour, else also the day. */
export function time(/** @type {string | null | undefined} */ at) {
  if (!at) return "–";
  const date = new Date(at);
  const now = new Date();
  const isToday = date.toDateString() === now.toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const form = isToday ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  return new Intl.DateTimeFormat(language(), form).format(date);
}

/** How long ago a time was, roughly. */
export function ago(/** @type {string} */ at) {
  return t("{time} ago", { time: duration((Date.now() - Date.parse(at)) / 1000) });
}

/** What a task is called, and where it puts its files: `[tgfiles](file.pdf->local1:/a/file.pdf)`. */
export function taskName(/** @type {{title: string, storage?: string, path?: string}} */ task) {
  const found = /^\[[^\]]*\]\((.*)->.*?\)$/s.exec(task.title);
  return found?.[1] || task.title || t("Looking up the link");
}

/** A storage and a folder in it. */
export function place(/** @type {string} */ storage, /** @type {string} */ path) {
  return `${storage}:${path.startsWith("/") ? path : `/${path}`}`;
}
