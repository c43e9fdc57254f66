// The menu on narrow screens: all that has no place at the bottom.
import { logOut, session } from "../api.js";
import { html } from "../parts/html.js";
import { menu } from "../parts/frame.js";
import { Icon } from "../parts/icons.js";
import { Button } from "../parts/ui.js";
import { to } from "../router.js";
import { t } from "../texts.js";

export default function More() {
  return html`<ul class="more">${menu()
    .slice(4)
    .map(([name, label]) => html`<li><a href=${to(name)}><${Icon} name=${name === "settings" ? "user" : name} />${label}</a></li>`)}</ul>
    ${session.value.csrf_token && html`<p><${Button} label=${t("Log out")} action=${logOut} /></p>`}`;
}
