// Making a link to a file or folder, and showing it.
import { useState } from "preact/hooks";
import { post } from "../api.js";
import { time } from "../format.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Icon } from "./icons.js";
import { Button, Choice, Copy, Dialog } from "./ui.js";

const DAY = 86400;

/** How long a link works: seconds as text; "" for the configured time. */
export function lifetimes() {
  return [["", t("As configured")], [String(DAY), t("1 day")], [String(7 * DAY), t("7 days")], [String(30 * DAY), t("30 days")], ["0", t("For ever")]];
}

/** @param {{target: {file_id?: string, folder_id?: number}, user: number, name: string, close: () => void}} props */
export function LinkForm({ target, user, name, close }) {
  const [link, setLink] = useState(null);
  const [form, setForm] = useState({ ttl: "", max: "", password: "" });
  const change = (fields) => setForm((before) => ({ ...before, ...fields }));
  const make = async () => {
    setLink(
      await post("links", {
        ...target,
        user_id: user,
        ...(form.ttl ? { ttl: Number(form.ttl) } : {}),
        ...(form.max ? { max_downloads: Number(form.max) } : {}),
        ...(form.password ? { password: form.password } : {}),
      }),
    );
  };
  if (link) return html`<${ShownLink} link=${link} close=${close} />`;
  return html`<${Dialog} title=${t("Link to {name}", { name })} close=${close}><div class="stack">
    <p class="dim">${t("Whoever has the link can see and download the file, without a login.")}</p>
    <${Choice} label=${t("Works for")} value=${form.ttl} options=${lifetimes()} onChange=${(ttl) => change({ ttl })} />
    <label class="field"><span>${t("Number of downloads (empty: any)")}</span>
      <input inputmode="numeric" pattern="[0-9]*" value=${form.max} onInput=${(event) => change({ max: event.target.value.replace(/\D/g, "") })} /></label>
    <label class="field"><span>${t("Password (empty: none)")}</span>
      <input value=${form.password} autocomplete="off" onInput=${(event) => change({ password: event.target.value })} /></label>
    <footer><${Button} label=${t("Cancel")} action=${close} /><${Button} kind="main" icon="links" label=${t("Create link")} action=${make} /></footer>
  </div></${Dialog}>`;
}

/** A link with its addresses and its QR code. */
export function ShownLink({ link, close }) {
  return html`<${Dialog} title=${link.name} close=${close}><div class="stack shown-link">
    <img class="qr" src=${`api/v1/links/${encodeURIComponent(link.token)}/qr`} alt=${t("The address of the page as a QR code")} width="180" height="180" />
    <label class="field"><span>${t("Page with a player")}</span><input readonly value=${link.page_url} onFocus=${(event) => event.target.select()} /></label>
    <div class="buttons"><${Copy} kind="main" text=${link.page_url} label=${t("Copy link")} />
      <a class="button" href=${link.page_url} target="_blank" rel="noopener"><${Icon} name="open" /><span>${t("Open")}</span></a>
      <${Copy} text=${link.url} label=${t("Copy download address")} /></div>
    <p class="dim">${link.expires_at ? t("Works until {time}.", { time: time(link.expires_at) }) : t("Works for ever.")}</p>
  </div></${Dialog}>`;
}
