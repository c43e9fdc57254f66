// The fields of forms about a chat: which one, for whom, and where its files go.
import { useEffect, useRef } from "preact/hooks";
import { get } from "../api.js";
import { t } from "../texts.js";
import { html } from "./html.js";
import { Choice, Dialog, Failure, Loading, useLoaded } from "./ui.js";

/** A dialog whose form needs to know the users: `form` is it, and gets `users`, `close` and what else is given. */
export function FormDialog({ title, close, form: Form, ...rest }) {
  const [users, error, reload] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  return html`<${Dialog} title=${title} close=${close} wide>
    ${error ? html`<${Failure} error=${error} retry=${reload} />` : !users ? html`<${Loading} />` : html`<${Form} users=${users} close=${close} ...${rest} />`}</${Dialog}>`;
}

/** The field for a chat. */
export function ChatField({ value, onChange }) {
  const ref = useRef(null);
  useEffect(() => ref.current.focus(), []); // the dialog was there before it
  return html`<label class="field"><span>${t("Channel or group: a link, @name or id")}</span><input ref=${ref} value=${value} dir="ltr" spellcheck=${false}
    autocapitalize="off" placeholder="https://t.me/channel" onInput=${(event) => onChange(event.target.value)} /></label>`;
}

/** The user, and one of their storages: the fields `user` and `storage` of `form`. */
export function PlaceFields({ users, form, change }) {
  const user = users.find((each) => String(each.user_id) === form.user) ?? users[0];
  return html`${users.length > 1 && html`<${Choice} label=${t("For user")} value=${form.user} options=${users.map((each) => [String(each.user_id), String(each.user_id)])} onChange=${(id) => change({ user: id, storage: "" })} />`}
    <${Choice} label=${t("Storage")} value=${form.storage} onChange=${(storage) => change({ storage })}
      options=${[["", t("Default ({name})", { name: user?.storage ?? "–" })], ...(user?.storages ?? []).map((name) => [name, name])]} />`;
}
