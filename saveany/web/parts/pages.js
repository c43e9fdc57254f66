// Long lists: read page by page as the reader scrolls, and drawn only where they are on the screen.
import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { get } from "../api.js";
import { html } from "./html.js";

const PER_PAGE = 200;
const SPARE_ROWS = 8;
const MAX_KEPT = 12;

/** Lists that were read, by their addresses, with the place to which the reader had scrolled. */
const kept = new Map();

/** The rows of a list of the API. `reload` reads it anew from its beginning; `drop` forgets one row. */
export function usePages(/** @type {string} */ path, /** @type {string} */ name, /** @type {Record<string, unknown>} */ query) {
  const key = JSON.stringify([path, name, query]);
  if (!kept.has(key)) {
    kept.set(key, { state: signal({ rows: [], cursor: undefined, error: null, isBusy: false }), scroll: 0, version: 0 });
    if (kept.size > MAX_KEPT) kept.delete(kept.keys().next().value);
  }
  const list = kept.get(key);
  const state = list.state.value;
  async function more(fresh = false) {
    const now = list.state.peek();
    if ((now.isBusy || now.cursor === null) && !fresh) return;
    const version = (list.version += 1);
    list.state.value = { ...now, isBusy: true, error: null };
    try {
      const page = await get(path, { ...query, limit: PER_PAGE, cursor: fresh ? undefined : now.cursor });
      if (version !== list.version) return;
      const rows = fresh ? page[name] : [...now.rows, ...page[name]];
      list.state.value = { rows, cursor: page.next_cursor, error: null, isBusy: false };
      if (!page[name].length && page.next_cursor) await more();
    } catch (error) {
      if (version === list.version) list.state.value = { ...list.state.peek(), error, isBusy: false };
    }
  }
  useEffect(() => {
    if (list.state.peek().cursor === undefined) more();
    else more(list.state.peek().rows.length <= PER_PAGE);
  }, [key]);
  useLayoutEffect(() => {
    scrollTo(0, list.scroll);
    dispatchEvent(new Event("resize")); // so that the rows there are drawn at once
    const note = () => {
      list.scroll = scrollY;
    };
    addEventListener("scroll", note, { passive: true });
    return () => removeEventListener("scroll", note);
  }, [key]);
  return {
    rows: state.rows,
    error: state.error,
    isLoaded: state.cursor !== undefined,
    isComplete: state.cursor === null,
    more,
    reload: () => more(true),
    change: (change) => {
      list.state.value = { ...list.state.peek(), rows: change(list.state.peek().rows) };
    },
  };
}

/** Forget all lists, after a change that may concern any of them. */
export function forgetPages() {
  kept.clear();
}

/** Rows of the same height, of which only those on the screen exist. `perRow` of them stand side by side. */
export function VirtualList({ count, height, perRow = 1, render, more, label, kind = "" }) {
  const ref = useRef(null);
  const [range, setRange] = useState([0, 30]);
  const lines = Math.ceil(count / perRow);
  useLayoutEffect(() => {
    let frame = 0;
    function measure() {
      frame = 0;
      const top = -(ref.current?.getBoundingClientRect().top ?? 0);
      const first = Math.max(0, Math.floor(top / height) - SPARE_ROWS);
      const last = Math.min(lines, Math.ceil((top + innerHeight) / height) + SPARE_ROWS);
      setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
      if (last >= lines - SPARE_ROWS) more?.();
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
