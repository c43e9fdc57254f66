// Long lists: read page by page as the reader scrolls, and drawn only where they are on the screen.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { html } from "./html.js";

const PER_PAGE = 200;
const SPARE_ROWS = 8;
const MAX_KEPT = 12;
/** Pages that are asked for at a time. */
const MAX_AT_ONCE = 3;

/** Lists that were read, by their addresses, with the place to which the reader had scrolled. */
const kept = new Map();

/** @typedef {{rows: any[], cursor: string | null | undefined, error: any, isBusy: boolean}} ListState */

/** What is known of a list. `fresh` are the pages that are as they were when the list was last read anew.
 * @typedef {{state: import("@preact/signals").Signal<ListState>, scroll: number, version: number, range: [number, number],
 *   asked: Set<number>, fresh: Set<number>, reloading: Promise<void> | null, next: Promise<void> | null}} List */

/** @returns {List} */
function keptList(/** @type {string} */ key) {
  if (!kept.has(key)) {
    const state = signal(/** @type {ListState} */ ({ rows: [], cursor: undefined, error: null, isBusy: false }));
    kept.set(key, { state, scroll: 0, version: 0, range: [0, 1], asked: new Set(), fresh: new Set(), reloading: null, next: null });
    if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(key);
}

/** What is known of a list, which stays when the reader comes back; so does the place to which it was scrolled. The
 * list on the screen also stays when all are forgotten: nobody would read another one in its place. */
function useKept(/** @type {string} */ key) {
  const list = useMemo(() => keptList(key), [key]);
  useLayoutEffect(() => {
    scrollTo(0, list.scroll);
    dispatchEvent(new Event("resize")); // so that the rows there are drawn at once
    const note = () => {
      list.scroll = scrollY;
    };
    addEventListener("scroll", note, { passive: true });
    return () => removeEventListener("scroll", note);
  }, [key]);
  return list;
}

/** The rows of a list of the API. `reload` reads it anew, `drop` forgets some rows.
 *
 * Usually the pages are read one after the other, with `more`. With `isAnywhere` all rows are counted, and those are
 * read that `show` names; the others are holes in `rows`. */
export function usePages(/** @type {string} */ path, /** @type {string} */ name, /** @type {Record<string, unknown>} */ query, isAnywhere = false) {
  const key = JSON.stringify([path, name, query, isAnywhere]);
  const list = useKept(key);
  const state = list.state.value;
  const set = (/** @type {Partial<ListState>} */ fields) => {
    list.state.value = { ...list.state.peek(), ...fields };
  };
  async function more(fresh = false) {
    const now = list.state.peek();
    if ((now.isBusy || now.cursor === null) && !fresh) return;
    const version = (list.version += 1);
    set({ isBusy: true, error: null });
    try {
      const page = await get(path, { ...query, limit: PER_PAGE, cursor: fresh ? undefined : now.cursor });
      if (version !== list.version) return;
      const rows = fresh ? page[name] : [...now.rows, ...page[name]];
      set({ rows, cursor: page.next_cursor, isBusy: false });
      if (!page[name].length && page.next_cursor) await more();
    } catch (error) {
      if (version === list.version) set({ error, isBusy: false });
    }
  }
  /** Read the pages of the range that are missing, a few at a time. While the reader drags the scroll bar, those that
   * have left the screen are never asked for. */
  function show(/** @type {number} */ first, /** @type {number} */ last) {
    list.range = [first, last];
    const { rows, cursor } = list.state.peek();
    if (cursor === undefined) return; // its first page is being read
    const end = Math.floor(Math.min(last, rows.length - 1) / PER_PAGE);
    for (let page = Math.floor(first / PER_PAGE); page <= end && list.asked.size < MAX_AT_ONCE; page += 1) {
      if (!list.asked.has(page) && !list.fresh.has(page)) readPage(page);
    }
  }
  /** From now on, no page is as it was read, and what is being read is thrown away. */
  function expire() {
    list.fresh.clear();
    return (list.version += 1);
  }
  async function readPage(/** @type {number} */ page, version = list.version) {
    list.asked.add(page);
    try {
      const found = await get(path, { ...query, limit: PER_PAGE, offset: page * PER_PAGE });
      if (version !== list.version) return;
      const rows = list.state.peek().rows.slice();
      if (rows.length !== found.total) list.fresh.clear(); // the others may have moved
      list.fresh.add(page);
      rows.length = found.total;
      found[name].forEach((/** @type {any} */ row, /** @type {number} */ n) => {
        rows[page * PER_PAGE + n] = row;
      });
      set({ rows, cursor: null, error: null });
    } catch (error) {
      if (version === list.version) set({ error });
    } finally {
      list.asked.delete(page);
      if (!list.state.peek().error) show(...list.range);
    }
  }
  /** Read the list anew; until then its rows stay. A call while that goes on has one more reading follow, which is that
   * of all such calls: many tasks that end after each other would otherwise never let one be shown. */
  function reload() {
    const read = () => (isAnywhere ? readPage(Math.floor(list.range[0] / PER_PAGE), expire()) : more(true));
    if (list.reloading) {
      list.next ??= list.reloading.then(() => {
        list.next = null;
        return reload();
      });
      return list.next;
    }
    list.reloading = read().finally(() => {
      list.reloading = null;
    });
    return list.reloading;
  }
  useEffect(() => {
    const { rows, cursor } = list.state.peek();
    if (cursor === undefined || isAnywhere || rows.length <= PER_PAGE) reload();
    else more();
  }, [key]);
  return {
    rows: state.rows,
    error: state.error,
    isLoaded: state.cursor !== undefined,
    isComplete: state.cursor === null,
    more: () => isAnywhere || more(),
    show: isAnywhere ? show : undefined,
    reload,
    change: (/** @type {(rows: any[]) => any[]} */ change) => set({ rows: change(list.state.peek().rows) }),
    /** Forget rows; those behind them move up. */
    drop: (/** @type {(row: any) => boolean} */ isGone) => {
      const rows = list.state.peek().rows.slice();
      for (let n = rows.length - 1; n >= 0; n -= 1) if (rows[n] && isGone(rows[n])) rows.splice(n, 1);
      if (isAnywhere) expire();
      set({ rows });
    },
  };
}

/** Forget all lists, after a change that may concern any of them. */
export function forgetPages() {
  kept.clear();
}

/** Rows of the same height, of which only those on the screen exist. `perRow` of them stand side by side. `show` is
 * called with the first and the last of them. */
export function VirtualList({ count, height, perRow = 1, render, more, show, label, kind = "" }) {
  const ref = useRef(null);
  const [range, setRange] = useState([0, 30]);
  const lines = Math.ceil(count / perRow);
  const latest = useRef({ more, show });
  latest.current = { more, show };
  useLayoutEffect(() => {
    let frame = 0;
    function measure() {
      frame = 0;
      const top = -(ref.current?.getBoundingClientRect().top ?? 0);
      const first = Math.max(0, Math.floor(top / height) - SPARE_ROWS);
      const last = Math.min(lines, Math.ceil((top + innerHeight) / height) + SPARE_ROWS);
      setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
      if (last >= lines - SPARE_ROWS) latest.current.more?.();
      latest.current.show?.(first * perRow, last * perRow);
    }
    const soon = () => {
      frame ||= requestAnimationFrame(measure);
    };
    measure();
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", measure);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", soon);
      removeEventListener("resize", measure);
    };
  }, [count, height, perRow]);
  const [first, last] = [Math.min(range[0], lines), Math.min(range[1], lines)];
  const shown = Array.from({ length: Math.max(0, Math.min(count, last * perRow) - first * perRow) }, (_, i) => render(first * perRow + i));
  return html`<ul ref=${ref} class=${`virtual ${kind}`} aria-label=${label} style=${{ height: `${lines * height}px`, "--per-row": perRow }}>
    <li class="virtual-space" aria-hidden="true" style=${{ height: `${first * height}px` }}></li>${shown}</ul>`;
}

/** A button's worth of "more" for lists that are not virtual: reads on when its end comes into view. */
export function More({ pages }) {
  const ref = useRef(null);
  useEffect(() => {
    const watch = new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && pages.more(), { rootMargin: "600px" });
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, [pages.rows.length, pages.isComplete]);
  return html`<div ref=${ref} class="more-rows"></div>`;
}
