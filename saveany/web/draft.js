// What the reader has typed into the form for new tasks, so that neither a login nor another view loses it.
const KEY = "draft";

/** @returns {Record<string, any>} */
export function draft() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
  } catch {
    return {};
  }
}

/** Keep these fields, besides those that were kept before. */
export function keepDraft(/** @type {Record<string, any>} */ fields) {
  sessionStorage.setItem(KEY, JSON.stringify({ ...draft(), ...fields }));
}
