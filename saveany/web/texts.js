// The texts in the language of the reader. English texts are in the code; they are the keys of the others.

/** Languages with their names; each but English has a file in `texts/`. */
export const LANGUAGES = { en: "English", "zh-Hans": "简体中文" };

/** @type {Record<string, string>} */
let translated = {};

/** The chosen language, else the first of the browser's that there is. */
export function language() {
  const chosen = localStorage.getItem("language");
  if (chosen && chosen in LANGUAGES) return chosen;
  for (const tag of navigator.languages) {
    if (/^zh\b/i.test(tag)) return "zh-Hans";
    if (/^en\b/i.test(tag)) return "en";
  }
  return "en";
}

/** Load the texts, once, before the first of them is shown. */
export async function loadTexts() {
  const tag = language();
  document.documentElement.lang = tag;
  if (tag === "en") return;
  const reply = await fetch(new URL(`./texts/${tag}.json`, import.meta.url));
  if (reply.ok) translated = await reply.json();
}

/** Choose a language. */
export function setLanguage(/** @type {string} */ tag) {
  localStorage.setItem("language", tag);
  location.reload();
}

/** A text with values for its `{fields}`. */
export function t(/** @type {string} */ text, /** @type {Record<string, unknown>} */ values = {}) {
  return (translated[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** The form that agrees with `n`, which is also a field. */
export function plural(/** @type {string} */ one, /** @type {string} */ many, /** @type {number} */ n, /** @type {Record<string, unknown>} */ values = {}) {
  return t(n === 1 ? one : many, { ...values, n: n.toLocaleString(language()) });
}
