// A backup of this installation, as a file that the browser saves.
import { useState } from "preact/hooks";
import { download } from "../api.js";
import { bytes } from "../format.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, tell } from "./ui.js";

export function Backup() {
  const [logins, setLogins] = useState(false);
  const make = async () => tell(t("The backup has {size}", { size: bytes(await download("backup", { logins })) }));
  return html`<section class="card"><h2>${t("Backup")}</h2>
    <p class="dim">${t("Saves history, library, links, queue, rules and the configuration in one file. The saved files are not part of it: they stay in their storages.")}</p>
    <p class="task-note"><${Icon} name="warning" />${t("The file contains the passwords and tokens of the configuration: keep it where only you can read it.")}</p>
    <label class="check"><input type="checkbox" checked=${logins} onChange=${(event) => setLogins(event.target.checked)} /> ${t("With the logins of the Telegram accounts: whoever has the file can then use them")}</label>
    <div class="buttons"><${Button} icon="download" label=${t("Make a backup")} action=${make} /></div>
    <p class="hint">${t("To restore it, stop SaveAny and run:")} <code>saveany restore FILE</code></p></section>`;
}
