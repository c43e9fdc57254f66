// What was saved: folders and files, to be found, seen, moved, shared and thrown away.
import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { all, get, may, patch, post, remove, session } from "../api.js";
import { bytes, time } from "../format.js";
import { onEnd } from "../live.js";
import { html } from "../parts/html.js";
import { Icon } from "../parts/icons.js";
import { LinkForm } from "../parts/linkform.js";
import { forgetPages, usePages, VirtualList } from "../parts/pages.js";
import { Preview, thumbnailOf } from "../parts/preview.js";
import { SelectionBar, useSelection } from "../parts/selection.js";
import { ask, Button, Choice, confirm, Dialog, Empty, Failure, Loading, tell, useLoaded } from "../parts/ui.js";
import { go, route, to } from "../router.js";
import { plural, t } from "../texts.js";

const ROW_HEIGHT = 54;
const TILE_HEIGHT = 176;
const TILE_WIDTH = 168;
const TYPE_DELAY_MS = 250;
/** Number of files from which on one can jump to a name. */
const LARGE = 100;

/** Whether files are shown as pictures side by side. */
const isGrid = signal(localStorage.getItem("library") === "grid");

export default function Library() {
  const { rest, query } = route.value;
  if (rest[0] === "trash") return html`<${Trash} />`;
  return html`<${Folder} key=${rest[0] ?? ""} id=${Number(rest[0]) || 0} query=${query} />`;
}

function Folder({ id, query }) {
  const isSearch = Boolean(query.q || query.type || query.storage || query.user);
  const [folder, folderError] = useLoaded((stop) => pathTo(id, stop), [id]);
  const [folders, , reloadFolders] = useLoaded(() => (isSearch ? Promise.resolve([]) : all("folders", "folders", { parent: id, limit: 200 })), [id, isSearch]);
  const pages = usePages("files", "files", { folder: isSearch && !id ? undefined : id, q: query.q, type: query.type, storage: query.storage, user_id: query.user, start: isByName(query) ? query.from : undefined, sort: query.sort ?? (isSearch ? "-added" : "name") }, !query.q);
  const [opened, setOpened] = useState(null);
  const [linked, setLinked] = useState(null);
  const [moved, setMoved] = useState(null);
  const width = useWidth();
  const above = isSearch ? [] : (folders ?? []).map((each) => ({ ...each, isFolder: true, key: `f${each.folder_id}` }));
  const count = above.length + pages.rows.length;
  const entryAt = (index) => (index < above.length ? above[index] : keyed(pages.rows[index - above.length]));
  const entries = [...above, ...pages.rows.filter(Boolean).map(keyed)];
  const selection = useSelection(entries.map((each) => each.key));
  const chosen = entries.filter((each) => selection.ids.has(each.key));
  const latest = useRef(pages);
  latest.current = pages;
  /** Reads the list that is shown then: while a change was sent, the reader may have chosen another filter. */
  const reload = async () => {
    reloadFolders();
    await latest.current.reload();
  };
  useEffect(() => onEnd((task) => task.status === "completed" && reload()), []);
  const place = opened ? pages.rows.findIndex((each) => each?.file_id === opened.file_id) : -1;
  const file = pages.rows[place] ?? opened; // it stays open where a new order, another name or a filter hides its row
  const step = (by) => (place >= 0 && pages.rows[place + by] ? () => setOpened(pages.rows[place + by]) : undefined);
  const perRow = isGrid.value ? Math.max(2, Math.floor((width + 10) / TILE_WIDTH)) : 1;
  const open = (entry) => (entry.isFolder ? go(to(`library/${entry.folder_id}`)) : setOpened(entry));
  useEffect(() => {
    if (place >= 0) pages.show?.(Math.max(0, place - 1), place + 1); // so that one can step there
  }, [place]);
  const acts = { open, link: setLinked, move: (entry) => setMoved([entry]), rename: (entry) => rename(entry, reload), trash: (entry) => throwAway([entry], reload, pages) };
  if (folderError) return html`<${Failure} error=${folderError} />`;
  return html`<${Tools} id=${id} query=${query} folder=${folder} isLarge=${Boolean(query.from) || pages.rows.length >= LARGE} reload=${reload} share=${() => setLinked({ ...folder.at(-1), isFolder: true })} />
    ${pages.error && html`<${Failure} error=${pages.error} retry=${reload} />`}
    ${!pages.isLoaded && !pages.error && html`<${Loading} rows=${8} />`}
    ${pages.isLoaded && !count && pages.isComplete && html`<${Nothing} isSearch=${isSearch} id=${id} />`}
    ${count > 0 && html`<${VirtualList} count=${count} height=${isGrid.value ? TILE_HEIGHT : ROW_HEIGHT} perRow=${perRow}
      kind=${isGrid.value ? "grid" : "rows"} label=${t("Files")} more=${pages.more} show=${pages.show && ((first, last) => pages.show(Math.max(0, first - above.length), Math.max(0, last - above.length)))}
      render=${(index) => {
        const entry = entryAt(index);
        if (!entry) return html`<li key=${`unread ${index}`} class="row unread" aria-busy="true"><div class="loading-row"></div></li>`;
        return html`<${Entry} key=${entry.key} entry=${entry} acts=${acts} withFolder=${isSearch} isSelected=${selection.ids.has(entry.key)} toggle=${(shift) => selection.toggle(entry.key, shift)} />`;
      }} />`}
    <${SelectionBar} selection=${selection}>
      <${Button} icon="library" label=${t("Move")} action=${() => setMoved(chosen)} />
      <${Button} icon="trash" label=${t("Delete")} action=${async () => (await throwAway(chosen, reload, pages), selection.clear())} /></${SelectionBar}>
    ${file && html`<${Preview} file=${file} close=${() => setOpened(null)} next=${step(1)} previous=${step(-1)}>
      ${may("links") && html`<${Button} kind="main" icon="links" label=${t("Create link")} action=${() => setLinked(file)} />`}
      ${may("files") && html`<${Button} icon="edit" label=${t("Rename")} action=${async () => setOpened(await acts.rename(file))} />
      <${Button} icon="edit" label=${t("Edit caption")} action=${async () => setOpened(await changeCaption(file, reload))} />
      <${Button} icon="library" label=${t("Move")} action=${() => setMoved([file])} />
      <${Button} icon="trash" label=${t("Delete")} action=${() => (setOpened(null), acts.trash(file))} />`}</${Preview}>`}
    ${linked && html`<${LinkForm} name=${linked.name} user=${linked.user_id} close=${() => setLinked(null)}
      target=${linked.isFolder ? { folder_id: linked.folder_id } : { file_id: linked.file_id }} />`}
    ${moved && html`<${MoveForm} entries=${moved} close=${() => setMoved(null)} done=${() => (setMoved(null), setOpened(null), selection.clear(), reload())} />`}`;
}

/** A file as an entry; undefined if it is not read yet. */
function keyed(file) {
  return file && { ...file, key: file.file_id };
}

/** The folders from the top to this one. */
async function pathTo(id, stop) {
  const found = [];
  for (let next = id; next; next = found[0].parent_id) found.unshift(await get(`folders/${next}`, {}, stop));
  return found;
}

function useWidth() {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const main = document.getElementById("main");
    const watch = new ResizeObserver(() => {
      const style = getComputedStyle(main);
      setWidth(main.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
    });
    watch.observe(main);
    return () => watch.disconnect();
  }, []);
  return width;
}

function isByName(query) {
  return query.sort === "name" || !(query.sort || query.q || query.type || query.storage || query.user);
}

function Tools({ id, query, folder, reload, share, isLarge }) {
  const [text, setText] = useState(query.q ?? "");
  const [from, setFrom] = useState(query.from ?? "");
  const address = (fields) => to(id ? `library/${id}` : "library", { ...query, ...fields });
  useEffect(() => {
    if (text === (query.q ?? "")) return undefined;
    const timer = setTimeout(() => go(address({ q: text }), true), TYPE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    if (from === (query.from ?? "")) return undefined;
    const timer = setTimeout(() => (go(address({ from }), true), scrollTo(0, 0)), TYPE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [from]);
  useEffect(() => {
    const press = (event) => {
      if (event.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) {
        event.preventDefault();
        document.getElementById("search")?.focus();
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  const [users] = useLoaded((stop) => get("users", {}, stop).then((found) => found.users));
  const storages = [...new Set((users ?? []).flatMap((each) => each.storages))];
  const types = [["", t("All kinds")], ["video", t("Videos")], ["audio", t("Music")], ["image", t("Pictures")], ["text", t("Texts")], ["other", t("Others")]];
  const sorts = [["", t("Sort")], ["name", t("Name")], ["-name", t("Name, last first")], ["-added", t("Newest first")], ["added", t("Oldest first")], ["-size", t("Largest first")], ["size", t("Smallest first")]];
  return html`<div class="tools">
    <label class="search"><span class="unseen">${t("Search")}</span><${Icon} name="search" />
      <input id="search" type="search" value=${text} placeholder=${t("Search names and captions")} onInput=${(event) => setText(event.target.value)} /></label>
    <${Choice} hidden label=${t("Kind")} value=${query.type ?? ""} options=${types} onChange=${(type) => go(address({ type }), true)} />
    ${storages.length > 1 && html`<${Choice} hidden label=${t("Storage")} value=${query.storage ?? ""} options=${[["", t("All storages")], ...storages.map((name) => [name, name])]} onChange=${(storage) => go(address({ storage }), true)} />`}
    ${users?.length > 1 && html`<${Choice} hidden label=${t("For user")} value=${query.user ?? ""} options=${[["", t("All users")], ...users.map((each) => [String(each.user_id), t("user {id}", { id: each.user_id })])]} onChange=${(user) => go(address({ user }), true)} />`}
    <${Choice} hidden label=${t("Sort")} value=${query.sort ?? ""} options=${sorts} onChange=${(sort) => go(address({ sort }), true)} />
    ${isLarge && isByName(query) && html`<label class="jump"><span class="unseen">${t("Begin at the name")}</span>
      <input value=${from} placeholder=${t("Begin at the name")} onInput=${(event) => setFrom(event.target.value)} /></label>`}
    <${Button} short icon=${isGrid.value ? "list" : "grid"} label=${isGrid.value ? t("Show as a list") : t("Show as pictures")} action=${turn} />
  </div>
  <div class="tools second"><nav class="crumbs" aria-label=${t("Folder")}><a href=${to("library")} aria-current=${id ? undefined : "page"}>${t("Library")}</a>
      ${(folder ?? []).map((each) => html`<a key=${each.folder_id} href=${to(`library/${each.folder_id}`)} aria-current=${each.folder_id === id ? "page" : undefined}><bdi>${each.name}</bdi></a>`)}</nav>
    ${id > 0 && folder && may("links") && html`<${Button} icon="links" label=${t("Share folder")} action=${share} />`}
    ${may("files") && html`<${Button} icon="add" label=${t("New folder")} action=${() => makeFolder(id, folder, reload)} />`}
    <a class="button" href=${to("library/trash")}><${Icon} name="trash" /><span>${t("Trash")}</span></a></div>`;
}

function turn() {
  isGrid.value = !isGrid.value;
  localStorage.setItem("library", isGrid.value ? "grid" : "list");
}

async function makeFolder(id, folder, reload) {
  const name = await ask(t("New folder"), t("Name"), "", t("Create"));
  if (!name) return;
  const owner = folder?.at(-1)?.user_id ?? (await get("users")).users[0]?.user_id;
  await post("folders", { name, parent_id: id, user_id: owner });
  await reload();
}

function Nothing({ isSearch, id }) {
  if (isSearch) return html`<${Empty} icon="search" title=${t("Nothing found")}><p>${t("No name and no caption contains this.")}</p></${Empty}>`;
  if (id) return html`<${Empty} icon="library" title=${t("This folder is empty")} />`;
  return html`<${Empty} icon="library" title=${t("Nothing has been saved yet")}>
    <a class="button main" href=${to("add")}><${Icon} name="add" /><span>${t("Add links")}</span></a></${Empty}>`;
}

function Entry({ entry, acts, isSelected, toggle, withFolder }) {
  const detail = entry.isFolder ? t("Folder") : [bytes(entry.size), time(entry.added_at), withFolder && entry.folder].filter(Boolean).join(" · ");
  return html`<li class=${`row${isSelected ? " selected" : ""}`}>
    ${may("files") && html`<input type="checkbox" checked=${isSelected} aria-label=${t("Select {name}", { name: entry.name })} onClick=${(event) => toggle(event.shiftKey)} />`}
    <${Picture} entry=${entry} open=${() => acts.open(entry)} />
    <button type="button" class="row-name" onClick=${() => acts.open(entry)}><bdi>${entry.name}</bdi><small>${detail}</small></button>
    <span class="row-actions">${may("links") && html`<${Button} short icon="links" label=${t("Create link")} aria-label=${`${t("Create link")}: ${entry.name}`} action=${() => acts.link(entry)} />`}
      ${may("files") && html`<${Button} short icon="edit" label=${t("Rename")} action=${() => acts.rename(entry)} />
      <${Button} short icon="library" label=${t("Move")} action=${() => acts.move(entry)} />
      <${Button} short icon="trash" label=${t("Delete")} aria-label=${`${t("Delete")}: ${entry.name}`} action=${() => acts.trash(entry)} />`}</span></li>`;
}

const WITH_PICTURES = new Set(["video", "image", "audio"]);
/** Files of which the API has no picture, so that it is not asked again. */
const without = new Set();

function Picture({ entry, open }) {
  const [, draw] = useState(0);
  const icon = entry.isFolder ? "library" : entry.type;
  const has = !entry.isFolder && WITH_PICTURES.has(entry.type) && !without.has(entry.file_id);
  const fail = () => {
    without.add(entry.file_id);
    draw((n) => n + 1);
  };
  return html`<span class=${`thumb ${entry.isFolder ? "folder" : entry.type}`} onClick=${open}>
    ${has ? html`<img src=${thumbnailOf(entry)} alt="" loading="lazy" onError=${fail} />` : html`<${Icon} name=${icon} />`}</span>`;
}

/** The entry, as it is then. */
async function rename(entry, reload) {
  const name = await ask(t("Rename"), t("Name"), entry.name, t("Rename"));
  if (!name || name === entry.name) return entry;
  return change(entry, { name }, reload);
}

/** The file, as it is then. */
async function changeCaption(file, reload) {
  const caption = await ask(t("Edit caption"), t("Caption"), file.caption, t("Save"), true);
  if (caption === null || caption === file.caption) return file;
  return change(file, { caption }, reload);
}

async function change(entry, fields, reload) {
  const changed = await patch(entry.isFolder ? `folders/${entry.folder_id}` : `files/${entry.file_id}`, fields);
  forgetPages();
  await reload();
  return changed;
}

async function throwAway(entries, reload, pages) {
  const folders = entries.filter((each) => each.isFolder);
  const files = entries.filter((each) => !each.isFolder);
  if (folders.length) {
    const text = t("All files in it are moved to the trash, and links to it stop working.");
    const title = folders.length === 1 ? t("Delete the folder {name}?", { name: folders[0].name }) : plural("Delete {n} folder?", "Delete {n} folders?", folders.length);
    if (!(await confirm(title, text, t("Delete")))) return;
  }
  for (const each of folders) await remove(`folders/${each.folder_id}`, { recursive: true });
  const gone = new Set();
  for (const each of files) {
    await remove(`files/${each.file_id}`);
    gone.add(each.file_id);
  }
  pages.drop((each) => gone.has(each.file_id));
  if (folders.length) await reload();
  if (!files.length) return;
  tell(plural("{n} file is in the trash", "{n} files are in the trash", files.length), "good", async () => {
    for (const each of files) await post(`files/${each.file_id}/restore`);
    await reload();
  });
}

/** Choose a folder for some files and folders. */
function MoveForm({ entries, close, done }) {
  const [at, setAt] = useState(0);
  const [path] = useLoaded((stop) => pathTo(at, stop), [at]);
  const [folders, error] = useLoaded(() => all("folders", "folders", { parent: at, limit: 200, user_id: entries[0].user_id }), [at]);
  const own = new Set(entries.filter((each) => each.isFolder).map((each) => each.folder_id));
  const move = async () => {
    for (const each of entries) {
      await (each.isFolder ? patch(`folders/${each.folder_id}`, { parent_id: at }) : patch(`files/${each.file_id}`, { folder_id: at }));
    }
    forgetPages();
    done();
  };
  return html`<${Dialog} title=${entries.length === 1 ? t("Move {name}", { name: entries[0].name }) : plural("Move {n} entry", "Move {n} entries", entries.length)} close=${close}><div class="stack">
    <nav class="crumbs"><button type="button" class="button plain" onClick=${() => setAt(0)}>${t("Library")}</button>
      ${(path ?? []).map((each) => html`<button type="button" class="button plain" onClick=${() => setAt(each.folder_id)}><bdi>${each.name}</bdi></button>`)}</nav>
    ${error && html`<${Failure} error=${error} />`}
    <ul class="choices">${(folders ?? []).filter((each) => !own.has(each.folder_id)).map((each) => html`<li key=${each.folder_id}>
      <button type="button" onClick=${() => setAt(each.folder_id)}><${Icon} name="library" /><bdi>${each.name}</bdi></button></li>`)}
      ${folders && !folders.length && html`<li class="dim">${t("No folders in here.")}</li>`}</ul>
    <footer><${Button} label=${t("Cancel")} action=${close} /><${Button} kind="main" label=${t("Move here")} action=${move} /></footer></div></${Dialog}>`;
}

function Trash() {
  const pages = usePages("trash", "files", {});
  const restore = async (file) => {
    await post(`files/${file.file_id}/restore`);
    pages.change((rows) => rows.filter((each) => each.file_id !== file.file_id));
    forgetPages();
    tell(t("{name} is back", { name: file.name }));
  };
  const empty = async () => {
    const isAll = session.value.is_operator && session.value.user_id === null;
    if (!(await confirm(isAll ? t("Empty the trash of all users?") : t("Empty the trash?"), t("All files in it are removed from their storages. This cannot be undone."), t("Empty the trash")))) return;
    await remove("trash");
    await pages.reload();
  };
  return html`<div class="tools second"><nav class="crumbs" aria-label=${t("Folder")}><a href=${to("library")}>${t("Library")}</a><a aria-current="page" href=${to("library/trash")}>${t("Trash")}</a></nav>
      ${pages.rows.length > 0 && may("files") && html`<${Button} icon="trash" label=${t("Empty the trash")} action=${empty} />`}</div>
    ${pages.error && html`<${Failure} error=${pages.error} retry=${pages.reload} />`}
    ${!pages.isLoaded && !pages.error && html`<${Loading} />`}
    ${pages.isComplete && !pages.rows.length && html`<${Empty} icon="trash" title=${t("The trash is empty")}><p>${t("Deleted files stay here for some time, and can be taken back.")}</p></${Empty}>`}
    ${pages.rows.length > 0 && html`<${VirtualList} count=${pages.rows.length} height=${ROW_HEIGHT} kind="rows" label=${t("Trash")} more=${() => pages.more()} render=${(index) => {
      const file = pages.rows[index];
      return html`<li key=${file.file_id} class="row"><span class="thumb"><${Icon} name=${file.type} /></span>
        <span class="row-name"><bdi>${file.name}</bdi><small>${[bytes(file.size), t("deleted {time}", { time: time(file.deleted_at) }), session.value.user_id === null && t("user {id}", { id: file.user_id })].filter(Boolean).join(" · ")}</small></span>
        <span class="row-actions always">${may("files") && html`<${Button} icon="restore" label=${t("Restore")} action=${() => restore(file)} />`}</span></li>`;
    }} />`}`;
}
