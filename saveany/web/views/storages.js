// Where files are saved: whether that works, and what is there.
import { useState } from "preact/hooks";
import { get, patch, post, remove } from "../api.js";
import { bytes, time } from "../format.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { Check, Scan } from "../parts/inventory.js";
import { StorageForm } from "../parts/storageform.js";
import { Button, confirm, Dialog, Empty, Failure, Loading, Tag, tell, useLoaded, usePolling } from "../parts/ui.js";
import { t } from "../texts.js";

/** What a storage can do, in words; the others are for programs. */
const ABILITIES = {
  resumes: () => t("continues unfinished files"),
  reads: () => t("files can be read back"),
  moves: () => t("moves files"),
  links: () => t("has public links"),
  usage: () => t("knows its free space"),
  this_machine_only: () => t("on one machine only"),
};

export default function Storages() {
  const [found, error, reload] = useLoaded((stop) => get("storages", {}, stop));
  const [stats] = useLoaded((stop) => get("stats", {}, stop));
  const [configs, , reloadConfigs] = useLoaded((stop) => get("config/storages", {}, stop).then((reply) => reply.storages));
  const [browsed, setBrowsed] = useState("");
  const [compared, setCompared] = useState(null);
  const [edited, setEdited] = useState(null);
  const active = new Map(found?.storages.map((each) => [each.name, each]));
  usePolling(Boolean(configs?.some((each) => each.enable && !active.get(each.name)?.ready)), reload);
  if (error && !found) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!found) return html`<${Loading} />`;
  const test = async (name) => {
    const { seconds } = await post(`storages/${encodeURIComponent(name)}/test`);
    tell(t("{name}: a file was written, read and removed in {seconds} s", { name, seconds: seconds.toFixed(2) }));
    reload();
  };
  const again = () => {
    reload();
    reloadConfigs();
  };
  const change = async (name, enable) => {
    await patch(`storages/${encodeURIComponent(name)}`, { enable });
    again();
  };
  const removeStorage = async (name) => {
    if (!(await confirm(t("Remove {name}?", { name }), t("Its files stay where they are, but SaveAny cannot show or share them any more. Tasks that wait for it fail."), t("Remove")))) return;
    await remove(`storages/${encodeURIComponent(name)}`);
    again();
  };
  const known = configs ?? found.storages.map((each) => ({ ...each, enable: true }));
  return html`<div class="tools second"><p class="dim">${t("Where files are saved. A storage is tested before it is added or changed.")}</p>
      <${Button} kind="main" icon="add" label=${t("Add storage")} action=${() => setEdited({})} /></div>
    ${known.length > 0 && html`<ul class="rows">${known.map((config) => {
      const storage = active.get(config.name);
      const sum = stats?.by_storage[config.name];
      return html`<li key=${config.name} class="entry"><div class="entry-main"><div class="row-name"><bdi>${config.name}</bdi>
          <small>${[config.type, sum && t("{files} files, {size}", { files: sum.files, size: bytes(sum.bytes) }),
            ...Object.entries(ABILITIES).filter(([name]) => storage?.capabilities?.[name]).map(([, text]) => text())].filter(Boolean).join(" · ")}</small></div>
          <${Tag} kind=${!config.enable ? "" : storage?.ready ? "good" : "bad"}>${!config.enable ? t("Off") : storage?.ready ? t("Ready") : t("Not ready")}</${Tag}></div>
        ${storage?.error && html`<p class="problem"><${Icon} name="warning" />${storage.error}</p>`}
        <div class="buttons">${storage && html`<${Button} icon="check" label=${t("Test")} action=${() => test(config.name)} />`}
          ${storage?.capabilities?.lists && html`<${Button} icon="library" label=${t("Browse")} action=${() => setBrowsed(config.name)} />
            <${Button} icon="search" label=${t("Check the files")} action=${() => setCompared({ name: config.name, kind: Check })} />
            <${Button} icon="add" label=${t("List what is there")} action=${() => setCompared({ name: config.name, kind: Scan })} />`}
          ${configs && html`<${Button} icon="edit" label=${t("Change")} action=${() => setEdited(config)} />
            <${Button} label=${config.enable ? t("Turn off") : t("Turn on")} action=${() => change(config.name, !config.enable)} />
            <${Button} icon="trash" label=${t("Remove")} action=${() => removeStorage(config.name)} />`}</div></li>`;
    })}</ul>`}
    ${!known.length && html`<${Empty} icon="storages" title=${t("No storage is configured")}>${t("Add a folder of this machine, or a server.")}</${Empty}>`}
    ${browsed && html`<${Browse} name=${browsed} close=${() => setBrowsed("")} />`}
    ${compared && html`<${compared.kind} name=${compared.name} close=${() => (setCompared(null), reload())} />`}
    ${edited && html`<${Dialog} title=${edited.name ?? t("Add storage")} close=${() => setEdited(null)}>
      <${StorageForm} storage=${edited.name ? edited : undefined} cancel=${() => setEdited(null)} done=${() => (setEdited(null), again())} /></${Dialog}>`}`;
}

function Browse({ name, close }) {
  const [path, setPath] = useState("");
  const [after, setAfter] = useState("");
  const [found, error, reload] = useLoaded((stop) => get(`storages/${encodeURIComponent(name)}/files`, { path, after }, stop), [path, after]);
  const open = (folder) => {
    setAfter("");
    setPath(folder);
  };
  const parts = path.split("/").filter(Boolean);
  return html`<${Dialog} title=${name} close=${close} wide><div class="stack">
    <nav class="crumbs"><button type="button" class="button plain" onClick=${() => open("")}>/</button>
      ${parts.map((each, i) => html`<button type="button" class="button plain" onClick=${() => open(parts.slice(0, i + 1).join("/"))}><bdi>${each}</bdi></button>`)}</nav>
    ${error ? html`<${Failure} error=${error} retry=${reload} />` : !found ? html`<${Loading} />` : html`<ul class="choices">
      ${found.entries.map((entry) => html`<li key=${entry.path}>${entry.is_dir
        ? html`<button type="button" onClick=${() => open(entry.path)}><${Icon} name="library" /><bdi>${entry.name}</bdi></button>`
        : html`<span><${Icon} name="file" /><bdi>${entry.name}</bdi><span class="number dim">${bytes(entry.size)}</span><span class="dim">${time(entry.modified_at)}</span></span>`}</li>`)}
      ${!found.entries.length && html`<li class="dim">${t("This folder is empty")}</li>`}</ul>
    <footer>${after && html`<${Button} label=${t("Previous")} action=${() => setAfter("")} />`}
      ${found.next && html`<${Button} label=${t("Next")} action=${() => setAfter(found.next)} />`}</footer>`}</div></${Dialog}>`;
}
