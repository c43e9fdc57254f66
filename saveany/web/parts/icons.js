// Small drawings. Each stands beside a word, except where `label` is given.
import { html } from "./html.js";

const PATHS = {
  now: "M3 12h4l3 8 4-16 3 8h4",
  add: "M12 5v14M5 12h14",
  library: "M3 7a2 2 0 0 1 2-2h4l2 2h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z",
  links: "M10 14a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7L12 17",
  chats: "M4 5h16v11H10l-5 4v-4H4zM8 9h8M8 12h5",
  history: "M3 12a9 9 0 1 0 3-6.7L3 8m0-5v5h5m4-1v5l3 2",
  storages: "M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3zm0 0v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3",
  keys: "M15 9a4 4 0 1 0-4 4l1-.2L13 14h2v2h2v2h3v-3l-5.2-5.2z",
  webhooks: "M4 12a8 8 0 0 1 8-8m-8 8a8 8 0 0 0 8 8m8-8a8 8 0 0 0-8-8m8 8a8 8 0 0 1-8 8M4 12h16M12 4c-5 5-5 11 0 16 5-5 5-11 0-16",
  status: "M4 20V10m5 10V4m6 16v-7m5 7V8",
  rules: "M4 6h16M7 12h10M10 18h4",
  accounts: "M21 4 3 11l6 2.5L11.5 20l3-4.5 4 3z",
  users: "M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zm-7 8c0-3 3-4.5 7-4.5s7 1.5 7 4.5M16 4.3a3.5 3.5 0 0 1 0 6.4M18.5 15c2 .6 3.5 2 3.5 4",
  configuration: "M4 7h9m5 0h2M13 7a2.5 2.5 0 1 0 5 0 2.5 2.5 0 0 0-5 0zM4 17h2m5 0h9M6 17a2.5 2.5 0 1 0 5 0 2.5 2.5 0 0 0-5 0z",
  more: "M4 7h16M4 12h16M4 17h16",
  stop: "M7 7h10v10H7z",
  pause: "M8 5v14M16 5v14",
  resume: "M7 4l13 8-13 8z",
  cancel: "M6 6l12 12M18 6 6 18",
  retry: "M20 12a8 8 0 1 1-2.3-5.7L20 9m0-5v5h-5",
  trash: "M4 7h16M9 7V4h6v3m3 0-1 13H7L6 7m4 4v5m4-5v5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  download: "M12 4v11m-5-4 5 5 5-5M5 20h14",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zm4.7-1.8L20 20",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  check: "M4 12.5l5 5L20 6.5",
  warning: "M12 4 2.5 20h19zM12 10v4m0 3v.1",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  video: "M3 6h12v12H3zM15 10l6-3v10l-6-3",
  audio: "M9 18V5l11-2v13M9 18a3 3 0 1 1-6 0 3 3 0 0 1 6 0zm11-2a3 3 0 1 1-6 0 3 3 0 0 1 6 0z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5v.1",
  text: "M6 3h8l4 4v14H6zM9 11h6M9 15h6",
  other: "M6 3h8l4 4v14H6zM14 3v4h4",
  list: "M8 6h12M8 12h12M8 18h12M4 6v.1M4 12v.1M4 18v.1",
  grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
  up: "M12 20V5m-6 6 6-6 6 6",
  restore: "M4 9h10a6 6 0 0 1 0 12h-3M8 4 4 9l4 5",
  open: "M14 4h6v6M20 4l-9 9M18 14v5H5V6h5",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zm-8 8c0-3.5 3.6-5 8-5s8 1.5 8 5",
};

/** @param {{name: keyof typeof PATHS, label?: string}} props */
export function Icon({ name, label }) {
  const path = html`<path d=${PATHS[name] ?? PATHS.other} />`;
  return label
    ? html`<svg class="icon" viewBox="0 0 24 24" role="img" aria-label=${label}>${path}</svg>`
    : html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">${path}</svg>`;
}
