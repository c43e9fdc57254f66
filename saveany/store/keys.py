"""Every key and channel of the store in one list, each with its name, its Redis type and its content.

Python builds keys from here (`keys.TASK(task_id)`); the Lua scripts spell them out, and a test compares both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

#: Every key and channel begins with this.
PREFIX = "sa:"
#: A key of a wrong type is renamed to begin with this, after `PREFIX`.
DAMAGED = "damaged:"

_FIELD = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Key:
    """A kind of key. Call it with a value for each `<field>` of its pattern to get the full name."""

    pattern: str
    type: str
    meaning: str
    prefix: str = PREFIX
    _regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _format: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        literals = [re.escape(part) for part in _FIELD.split(self.pattern)]
        object.__setattr__(self, "_regex", re.compile(".*".join(literals), re.DOTALL))
        object.__setattr__(self, "_format", self.prefix + _FIELD.sub("{}", self.pattern))

    def __call__(self, *values: object) -> str:
        """The full name of a key."""
        return self._format.format(*values)

    def matches(self, name: str) -> bool:
        """Whether `name`, with its prefix, is a key of this kind."""
        return name.startswith(self.prefix) and bool(self._regex.fullmatch(name, len(self.prefix)))


KEYS: list[Key] = []


def _key(pattern: str, type_: str, meaning: str, prefix: str = PREFIX) -> Key:
    key = Key(pattern, type_, meaning, prefix)
    KEYS.append(key)
    return key


# Tasks.
TASK = _key("task:<id>", "hash", "a task; `epoch` fences every write after a claim")
ITEMS = _key("items:<id>", "hash", "item index -> item as JSON; one field per file")
CHECKPOINTS = _key("checkpoints:<id>", "hash", "item index -> its durable ranges, until the task has ended")
QUEUED = _key("queued", "zset", "queued tasks by creation time")
PAUSED = _key("paused", "zset", "paused tasks by creation time")
RUNNING = _key("running", "zset", "running tasks by creation time")
RUNNING_OF = _key("running:<user>", "set", "running tasks of a user")
SLOTS_OF = _key("slots:<user>", "set", "those of them that have a slot of their worker")
RECORDINGS_OF = _key("recordings:<user>", "set", "those of them that record live streams")
IDEMPOTENCY = _key("idem:<key>", "hash", "hash of the first body sent with an Idempotency-Key, and its task")

INBOX = _key("inbox:<hash>", "hash", "file in a watched folder -> its version that was taken, and a day")

# The queue.
USERS = _key("users", "zset", "the ring: users with ready tasks, by the turn in which they were last served")
TURN = _key("turn", "string", "counter of turns in the ring")
LANES = _key("lanes:<user>", "set", "lanes in which a user has ready tasks")
READY = _key("ready:<user>:<lane>", "zset", "tasks that can be claimed, by priority, then by age")
WAKE_UPS = _key("wake:<lane>", "list", "wake-ups for tasks of the lane; each is taken by one idle worker")
DELAYED = _key("delayed", "zset", "queued tasks that wait, by the time at which they become ready")
AWAY = _key("away:<storage>", "set", "tasks that were delayed because the storage was unreachable")
LEASES = _key("leases", "zset", "running tasks by the time at which their lease expires")
ROOM = _key("room:<user>", "string", "for some seconds after a task was told to stop for this user, or did")

# Files.
CLEANUP = _key("cleanup:<storage>", "set", "<id>:<epoch> of canceled tasks with leftovers on the storage")
SUFFIX = _key("suffix:<storage>:<path>", "string", "counter for file_1, file_2 …")
NAME = _key("name:<storage>:<path>", "string", "<task>-<item> that reserved the path")
PUBLISHING = _key("publishing:<storage>", "hash", "path -> <task>:<item> that makes its file visible there")
REMOVALS = _key(
    "removals:<storage>", "hash", "path of a deleted copy -> its size, and `ready` if no other file needs it"
)
REMOVING = _key("removing:<storage>:<path>", "string", "a worker removes this copy now; expires")
REMOVED = _key("removed", "set", "storage and path of copies that were removed, as JSON, until recorded")
STORAGES = _key(
    "storages", "hash", "storage -> id that its disk must show; ? and an id until a disk shows it"
)

# The catalogue, events and webhooks.
RECORD = _key("record", "stream", "changes of tasks that the catalogue does not contain yet")
RECORDED = _key(
    "recorded", "zset", "ended tasks that it contains completely, by the time at which they were recorded"
)
HISTORY = _key("history", "zset", "ended tasks of a version without a catalogue, until it contains them")
EVENTS = _key("events", "stream", "state changes, about 20,000; the ids are the event ids of the API")
OUTBOX = _key("outbox", "zset", "webhook deliveries by the time of their next attempt")
OUTBOX_WAKE_UPS = _key("outbox:wake", "list", "wake-ups for senders; each is taken by an idle one")
DELIVERY = _key("delivery:<id>", "string", "a webhook delivery as JSON")
POSTED = _key("posted", "zset", "all webhook deliveries by creation time")
DELIVERIES = _key("deliveries:<task>", "set", "ids of the webhook deliveries of a task")

# Workers and settings.
WORKERS = _key("workers", "set", "ids of workers that may be alive")
WORKER = _key("worker:<id>", "string", "last heartbeat of a worker as JSON")
API_PROCESSES = _key("apis", "set", "ids of API processes that others may reach")
API_PROCESS = _key("api:<id>", "string", "last heartbeat of such an API process as JSON")
QUERIES = _key("asks:<storage>", "list", "storage queries that no worker has taken yet, as JSON")
QUERY_RESULT = _key("answer:<id>", "list", "the result of a storage query as JSON")
DUPLICATE_QUERIES = _key(
    "duplicates", "list", "questions of workers whether a file was saved before, as JSON"
)
FETCHING = _key("fetching:<user>:<document>", "string", "which item fetches a document: task id-item index")
LINK_QUERIES = _key("resolve:<source>", "list", "questions which files some links lead to, as JSON")
SETTINGS = _key("settings", "hash", "`paused` is 1 while the queue is paused; limits that were changed")
COUNTERS = _key("counters", "hash", "sums for /metrics by name")
LOCK = _key("lock:<name>", "string", "a lock that expires by itself")
META = _key("meta", "hash", "version of the key layout; secrets that all machines share")
WRITTEN = _key("written", "string", "written to test that the server accepts writes")

# Users and watched chats.
PREFERENCES = _key("people", "hash", "user -> preferences as JSON")
PREFERENCE_CHANGE = _key("people:changed:<name>", "string", "a change of preferences was made; for a day")
WATCHED_CHATS = _key("watches", "hash", "id -> watched chat as JSON")
WATCHED_TASKS = _key("watches:tasks", "hash", "task -> its watched chat, until the user is notified")
REMOVED_ARCHIVES = _key("watches:removed", "set", "ids of removed archives that may have a receipt still")
LIVE_WATCHES = _key("live:watches", "hash", "id -> chat that is recorded when it goes live, as JSON")
BROADCASTS = _key("live:broadcasts", "hash", "id of such a chat -> the stream that goes on there, as JSON")

# The bot.
BOT_ID = _key("bot:id", "string", "id of the bot that the other bot keys belong to")
BOT_POSITION = _key("bot:position", "string", "position up to which updates were read, as JSON")
BOT_INBOX = _key("bot:inbox", "hash", "key -> update that is not handled yet, as JSON")
BOT_CARD = _key("bot:card:<token>", "string", "a message with buttons, for a week")
BOT_LOCK = _key("bot:lock", "string", "the process that is the bot now")
BOT_LOGINS = _key("bot:logins", "hash", "chat -> user who is logging in an account there")
BOT_NOTICE = _key("bot:told:<name>", "string", "a notice that is not repeated before this expires")
PROGRESS_MESSAGES = _key("live", "hash", "<chat>:<message> -> progress message of the bot, as JSON")

# Links.
LINK_OPENED = _key(
    "opened:<token>:<address>",
    "string",
    "the address uses the link; for ten minutes after. `pending` until its download is counted",
)
LINK_TRIES = _key(
    "tries:<token>:<address>", "string", 'number of passwords tried; "" as token: of unknown tokens'
)
LINKS_MADE = _key("links:<user>", "string", "number of links that the user made; for a day after the first")
LINK_CHANGES = _key(
    "links", "string", "number of changes of links, and of files and folders that were deleted"
)
TRAFFIC = _key("traffic:<month>", "string", "bytes that links sent in that month, such as 2026-11")
LINK_OPENINGS = _key("openings:<address>", "zset", "links that an address has opened, by time")

# APIs of other hosts.
TICKET = _key("ticket:<hash>", "string", "what a ticket is for, as JSON, by its hash; expires")
REMOTE_UPLOADS = _key("remote:<user>", "zset", "the newest tasks of a user that such an API has, by number")
REMOTE_NUMBER = _key("remote", "string", "the number of the newest of these tasks")
STREAM_REQUESTS = _key("streamapi:requests", "hash", "key -> the greatest id of its signed requests")
STREAM_SESSIONS = _key("streamapi:sessions", "hash", "public id -> session of StreamAPI as JSON")
STREAM_OWNERS = _key("streamapi:owners", "hash", "private id of such a session -> its public id")

# Keys and sessions of the API.
NONCE = _key("nonce:<hash>", "string", "the attempt that used a nonce of a signed request; expires")
SESSION = _key("session:<hash>", "string", "a session of a browser as JSON, by the hash of its id")
LOGIN_CODE = _key("login:<hash>", "string", "who may begin a session with this code, once, by its hash")
KEY_GENERATION = _key("generation:keys", "string", "random, new with each revoked key or ended session")

# Telegram accounts.
ACCOUNT_PROCESSES = _key(
    "telegram:lines:<account>:<dc>", "zset", "processes that download, by the time at which they expire"
)
ACCOUNT_FLOOD = _key("telegram:flood:<account>:<dc>", "string", "present while a flood wait lasts")
ACCOUNT_MACHINE = _key("telegram:machine:<login>", "string", "the machine that uses a login")
ACCOUNT_ADDRESSES = _key("telegram:addresses:<login>", "string", "addresses of the home data center as JSON")
ACCOUNT_CHATS = _key("telegram:<account>:peers", "hash", "marked chat id -> access hash")
ACCOUNT_NAME = _key("telegram:<account>:name:<name>", "string", "marked id of the chat with that username")

# Channels, which begin with `PREFIX`, too.

#: Claims of these tasks were canceled, stopped, paused or must make room; "": a canceled task may have
#: leftovers.
CONTROL = "control"
#: Progress of running tasks.
PROGRESS = "progress"
#: Something was added to `record`.
RECORDING = "record"
#: An archive was added or changed by a user.
ARCHIVES_CHANGED = "archives"
#: Keys or sessions were revoked.
REVOKED = "revoked"


def find(name: str) -> Key | None:
    """The kind of a key, the most specific if several match; None if it is not one of ours."""
    found = [key for key in KEYS if key.matches(name)]
    return max(found, key=lambda key: len(_FIELD.sub("", key.pattern)), default=None)


def expected_type(name: str) -> str:
    """The Redis type that a key must have; "" for a key that is not ours."""
    found = find(name)
    return found.type if found else ""
