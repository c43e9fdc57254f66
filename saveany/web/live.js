// The tasks that have not ended, and those that ended lately, kept up to date by the stream of events. While the
// stream cannot be had, they are asked for every few seconds.
import { batch, signal } from "@preact/signals";
import { get, session } from "./api.js";

const KINDS = ["queued", "running", "updated", "progress", "completed", "failed", "canceled"];
const ENDED = new Set(["completed", "failed", "canceled"]);
const POLL_MS = 3000;
const RETRY_STREAM_MS = 20000;
/** A stream that is not open after this is opened anew, over another connection. */
const OPEN_MS = 10000;
/** Requests without a reply are given up after the first of these, then after twice as long, up to the second:
 * after a sleep their connection may be dead. */
const [MIN_PATIENCE_MS, MAX_PATIENCE_MS] = [4000, 32000];
/** Timers that are late by this mean that the machine has slept, or the browser has frozen the page. */
const ASLEEP_MS = 15000;
const TICK_MS = 5000;
const REASONS_MS = 10000;
const DRAW_MS = 500;
const MAX_TASKS = 500;
const MAX_ENDED = 20;

/** The tasks that have not ended, by id, each in a signal of its own: one that moves redraws only its row. */
export const tasks = signal(new Map());
/** Whether there are more than `MAX_TASKS`. */
export const areMore = signal(false);
/** The tasks that ended last, the newest first. */
export const ended = signal([]);
/** The state of the queue; null for those who may not see it. */
export const queue = signal(null);
/** "connecting", "live", "polling", or "offline". */
export const connection = signal("connecting");
/** The number of files that this browser uploads, and how much of them is done; null if there are none. */
export const uploading = signal(null);
/** Whether the tasks were read once. */
export const isLoaded = signal(false);

/** @type {Set<(task: object) => void>} */
const endListeners = new Set();
/** Ids of tasks whose end the listeners know. @type {Set<string>} */
const announced = new Set();
/** @type {EventSource | null} */
let stream = null;
let isRunning = false;
let isReading = false;
let again = false;
let patience = MIN_PATIENCE_MS;
/** Ends the requests of the current reading. */
let reading = new AbortController();
let pollTimer = 0;
let openTimer = 0;
let readTimer = 0;
/** The last progress of tasks that is not shown yet. @type {Map<string, any>} */
const moved = new Map();
let drawTimer = 0;
/** Events that came while the tasks were being read. @type {[string, any][]} */
let waiting = [];

/** Call `listener` for each task that ends from now on. */
export function onEnd(/** @type {(task: object) => void} */ listener) {
  endListeners.add(listener);
  return () => endListeners.delete(listener);
}

/** Begin to follow the tasks of the one who is logged in. */
export function start() {
  if (isRunning) return;
  isRunning = true;
  open();
  read();
}

/** End that, and forget them. */
export function stop() {
  isRunning = false;
  stream?.close();
  stream = null;
  clearTimeout(pollTimer);
  clearTimeout(openTimer);
  clearTimeout(readTimer);
  readTimer = 0;
  batch(() => {
    tasks.value = new Map();
    ended.value = [];
    queue.value = null;
    isLoaded.value = false;
    connection.value = "connecting";
  });
}

/** Read the tasks anew soon, such as after a change. */
export function refresh() {
  readTimer ||= setTimeout(() => {
    readTimer = 0;
    read();
  }, 300);
}

function open() {
  stream?.close();
  const opened = new EventSource("api/v1/events");
  stream = opened;
  clearTimeout(openTimer);
  openTimer = setTimeout(() => isRunning && stream === opened && open(), OPEN_MS);
  opened.onopen = () => {
    clearTimeout(openTimer);
    clearTimeout(pollTimer);
    connection.value = "live";
    read();
  };
  opened.onerror = () => {
    if (stream !== opened || !isRunning) return;
    if (connection.value === "live") connection.value = "connecting";
    if (opened.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(() => isRunning && !stream && open(), RETRY_STREAM_MS);
    }
    poll();
  };
  opened.addEventListener("reset", refresh);
  opened.addEventListener("snapshot", (event) => receive("updated", event));
  for (const kind of KINDS) opened.addEventListener(`task.${kind}`, (event) => receive(kind, event));
}

function poll() {
  clearTimeout(pollTimer);
  if (isRunning) {
    pollTimer = setTimeout(async () => {
      await read();
      if (connection.value !== "live") poll();
    }, POLL_MS);
  }
}

function receive(/** @type {string} */ kind, /** @type {MessageEvent} */ event) {
  const data = JSON.parse(event.data);
  if (isReading) waiting.push([kind, data]);
  else if (kind === "progress" && tasks.peek().has(data.task_id)) {
    moved.set(data.task_id, data);
    drawTimer ||= setTimeout(draw, DRAW_MS);
  } else {
    draw();
    apply(kind, data);
  }
}

/** Show the progress of all tasks that have moved, in one step: each step costs the browser a frame. */
function draw() {
  clearTimeout(drawTimer);
  drawTimer = 0;
  if (!moved.size) return;
  const late = [...moved.values()];
  moved.clear();
  batch(() => late.forEach((data) => tasks.peek().has(data.task_id) && apply("progress", data)));
}

function apply(/** @type {string} */ kind, /** @type {any} */ data) {
  const known = tasks.value.get(data.task_id);
  if (ENDED.has(data.status)) {
    if (known) finish({ ...known.value, ...data, finished_at: data.at });
    else {
      announce(data); // it ended before it was read
      refresh();
    }
  } else if (!known) {
    announced.delete(data.task_id);
    refresh();
  } else {
    const now = known.value;
    const waits = data.status === "queued" ? now.waiting : "";
    known.value = { ...now, ...data, progress: data.progress ?? now.progress, waiting: waits };
    if (data.status === "queued") refresh(); // the reason for which it waits comes with no event
  }
}

function finish(/** @type {any} */ task) {
  batch(() => {
    const left = new Map(tasks.value);
    left.delete(task.task_id);
    tasks.value = left;
    ended.value = [task, ...ended.value.filter((each) => each.task_id !== task.task_id)].slice(0, MAX_ENDED);
  });
  announce(task);
  refresh();
}

/** Tell the listeners that a task has ended, once. */
function announce(/** @type {any} */ task) {
  if (announced.has(task.task_id)) return;
  announced.add(task.task_id);
  for (const listener of endListeners) listener(task);
}

/** Read everything, and then apply the events that came in the meantime. */
async function read() {
  if (isReading) {
    again = true;
    return;
  }
  isReading = true;
  again = false;
  reading = new AbortController();
  const { signal: stopped } = reading;
  const timer = setTimeout(() => {
    patience = Math.min(2 * patience, MAX_PATIENCE_MS);
    reading.abort();
  }, patience);
  try {
    const isOperator = session.value?.is_operator;
    const [now, past, state] = await Promise.all([
      get("tasks", { limit: MAX_TASKS }, stopped),
      get("history", { limit: MAX_ENDED }, stopped),
      isOperator ? get("queue", {}, stopped) : null,
    ]);
    patience = MIN_PATIENCE_MS;
    if (isRunning) show(now, past, state);
    if (connection.value === "offline" || (connection.value === "connecting" && !stream)) connection.value = "polling";
  } catch (error) {
    again ||= stopped.aborted;
    if (error.status === 0 || error.status >= 500 || patience === MAX_PATIENCE_MS) {
      connection.value = "offline";
      if (!stream) open();
    }
  } finally {
    clearTimeout(timer);
    isReading = false;
    const late = waiting;
    waiting = [];
    batch(() => late.forEach(([kind, data]) => apply(kind, data)));
    if (again) refresh();
  }
}

function show(now, past, state) {
  if (!isLoaded.peek()) past.tasks.forEach((task) => announced.add(task.task_id));
  batch(() => {
    const found = new Map();
    let isSame = now.tasks.length === tasks.value.size;
    for (const task of now.tasks) {
      const known = tasks.value.get(task.task_id);
      if (known) known.value = task;
      else isSame = false;
      announced.delete(task.task_id); // one that ended may run again
      found.set(task.task_id, known ?? signal(task));
    }
    if (!isSame) tasks.value = found;
    areMore.value = Boolean(now.next_cursor);
    ended.value = past.tasks;
    queue.value = state;
    isLoaded.value = true;
  });
  // Ends that no event has told. One that is retried may still be in the history.
  past.tasks.filter((task) => !tasks.peek().has(task.task_id)).forEach(announce);
}

setInterval(() => {
  if (isRunning && !document.hidden && [...tasks.value.values()].some((task) => task.peek().status === "queued")) refresh();
}, REASONS_MS);

// After a sleep, all connections may be dead without an error.
let lastTick = Date.now();
let mayBeDead = false;
function checkSleep() {
  mayBeDead ||= Date.now() - lastTick > TICK_MS + ASLEEP_MS;
  lastTick = Date.now();
  if (!mayBeDead || !isRunning || document.hidden) return;
  mayBeDead = false;
  patience = MIN_PATIENCE_MS;
  open();
  if (isReading) reading.abort();
  else read();
}
setInterval(checkSleep, TICK_MS);
document.addEventListener("resume", checkSleep);
addEventListener("online", () => isRunning && open());
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !isRunning) return;
  checkSleep();
  refresh();
});
