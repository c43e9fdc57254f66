// All links: who may still use them, and how often they were.
import { useState } from "preact/hooks";
import { may, patch, remove } from "../api.js";
import { bytes, time } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { lifetimes, ShownLink } from "../parts/linkform.js";
import { More, usePages } from "../parts/pages.js";
import { Button, Choice, confirm, Copy, Dialog, Empty, Failure, Loading, Tag } from "../parts/ui.js";
import { to } from "../router.js";
import { plural, t } from "../texts.js";

const STATES = {
  active: ["good", () => t("Works")],
  expired: ["", () => t("Expired")],
  revoked: ["bad", () => t("Revoked")],
  used_up: ["", () => t("Used up")],
  gone: ["bad", () => t("File deleted")],
};

export default function Links() {
  const pages = usePages("links", "links", {});
  const [shown, setShown] = useState(null);
  const [extended, setExtended] = useState(null);
  const change = async (link, fields) => {
    const now = await patch(`links/${encodeURIComponent(link.token)}`, fields);
    pages.change((rows) => rows.map((each) => (each.token === now.token ? now : each)));
  };
  const drop = async (link) => {
    if (!(await confirm(t("Delete the link?"), t("Whoever has it can use it no more, and it is listed no more."), t("Delete")))) return;
    await remove(`links/${encodeURIComponent(link.token)}`);
    pages.change((rows) => rows.filter((each) => each.token !== link.token));
  };
  if (pages.error && !pages.rows.length) return html`<${Failure} error=${pages.error} retry=${pages.reload} />`;
  if (!pages.isLoaded) return html`<${Loading} />`;
  if (!pages.rows.length && pages.isComplete) {
    return html`<${Empty} icon="links" title=${t("There are no links yet")}><p>${t("A link shows a file or a folder to whoever has it. Make one in the library.")}</p>
      <a class="button main" href=${to("library")}><${Icon} name="library" /><span>${t("Open the library")}</span></a></${Empty}>`;
  }
  return html`<ul class="rows list">${pages.rows.map((link) => {
      const [kind, label] = STATES[link.state];
      const works = link.state === "active";
      return html`<li key=${link.token} class="entry">
        <div class="entry-main"><button type="button" class="row-name" onClick=${() => setShown(link)}><bdi>${link.name}</bdi>
          <small>${[plural("{n} download", "{n} downloads", link.downloads) + (link.max_downloads ? ` / ${link.max_downloads}` : ""), bytes(link.bytes_sent),
            link.expires_at ? t("until {time}", { time: time(link.expires_at) }) : t("for ever"), link.has_password && t("with password"), link.folder_id && t("folder")].filter(Boolean).join(" · ")}</small></button>
          <${Tag} kind=${kind}>${label()}</${Tag}></div>
        <div class="buttons"><${Copy} text=${link.page_url} label=${t("Copy link")} disabled=${!works} />
          <${Button} icon="open" label=${t("Show")} action=${() => setShown(link)} />
          ${may("links") && html`<${Button} icon="history" label=${t("Extend")} action=${() => setExtended(link)} />
          <${Button} icon=${link.state === "revoked" ? "restore" : "cancel"} label=${link.state === "revoked" ? t("Allow again") : t("Revoke")} action=${() => change(link, { revoked: link.state !== "revoked" })} />
          <${Button} icon="trash" label=${t("Delete")} action=${() => drop(link)} />`}</div></li>`;
    })}</ul><${More} pages=${pages} />
    ${shown && html`<${ShownLink} link=${shown} close=${() => setShown(null)} />`}
    ${extended && html`<${Extend} link=${extended} close=${() => setExtended(null)} change=${change} />`}`;
}

function Extend({ link, close, change }) {
  const [ttl, setTtl] = useState(String(30 * 86400));
  const save = async () => {
    await change(link, { ttl: Number(ttl) });
    close();
  };
  return html`<${Dialog} title=${link.name} close=${close}><div class="stack">
    <${Choice} label=${t("Works from now for")} value=${ttl} options=${lifetimes().slice(1)} onChange=${setTtl} />
    <footer><${Button} label=${t("Cancel")} action=${close} /><${Button} kind="main" label=${t("Extend")} action=${save} /></footer></div></${Dialog}>`;
}
