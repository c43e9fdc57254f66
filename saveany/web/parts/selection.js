// A selection of rows: one by one, or with Shift all up to this one.
import { useState } from "preact/hooks";
import { plural, t } from "../texts.js";
import { html } from "./html.js";
import { Button } from "./ui.js";

/** `ids` are those of the rows, in their order. */
export function useSelection(/** @type {string[]} */ ids) {
  const [chosen, setChosen] = useState(new Set());
  const [last, setLast] = useState("");
  const present = new Set(ids.filter((id) => chosen.has(id)));
  return {
    ids: present,
    clear: () => setChosen(new Set()),
    all: () => setChosen(new Set(ids)),
    toggle(/** @type {string} */ id, withShift = false) {
      const next = new Set(present);
      const [from, to] = [ids.indexOf(last), ids.indexOf(id)].sort((a, b) => a - b);
      const some = withShift && from >= 0 ? ids.slice(from, to + 1) : [id];
      for (const each of some) {
        if (present.has(id)) next.delete(each);
        else next.add(each);
      }
      setChosen(next);
      setLast(id);
    },
  };
}

/** What can be done with the selected rows, at the bottom of the screen. */
export function SelectionBar({ selection, children }) {
  if (!selection.ids.size) return null;
  return html`<div class="selection" role="toolbar" aria-label=${t("Selection")}>
    <strong>${plural("{n} selected", "{n} selected", selection.ids.size)}</strong>${children}
    <${Button} label=${t("All")} action=${selection.all} /><${Button} label=${t("None")} action=${selection.clear} /></div>`;
}
