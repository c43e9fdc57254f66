// Where the reader is: the part of the address after `#`, such as `#/library/7?q=film`.
import { signal } from "@preact/signals";

/** @returns {{name: string, rest: string[], query: Record<string, string>}} */
function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decoded);
  return { name: name || "now", rest, query: Object.fromEntries(new URLSearchParams(query)) };
}

function decoded(/** @type {string} */ part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal(parse());
addEventListener("hashchange", () => {
  route.value = parse();
});

/** The address of a view. */
export function to(/** @type {string} */ path, /** @type {Record<string, unknown>} */ query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
  return `#/${path}${text}`;
}

/** Go there; `replace` leaves no entry in the history. */
export function go(/** @type {string} */ address, replace = false) {
  if (replace) {
    history.replaceState(null, "", address);
    route.value = parse();
  } else {
    location.hash = address;
  }
}
