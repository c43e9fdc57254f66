-- Functions that all scripts share: store/db.py puts this file in front of each script. `P` is the key prefix.
-- All times are milliseconds by the clock of this server. saveany/store/keys.py lists all keys and their meaning.

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function task_key(id) return P .. 'task:' .. id end

local function field(id, name) return redis.call('HGET', task_key(id), name) or '' end

-- The number in a value; 0 if it is damaged.
local function num(value)
  local n = tonumber(value)
  if not n or n ~= n or math.abs(n) > 2 ^ 53 then return 0 end
  return n
end

-- Adds to a numeric field of a task. Unlike HINCRBY it replaces a damaged value.
local function bump(id, name, by)
  local value = string.format('%d', num(field(id, name)) + by)
  redis.call('HSET', task_key(id), name, value)
  return value
end

local function next_turn()
  local turn = string.format('%d', num(redis.call('GET', P .. 'turn')) + 1)
  redis.call('SET', P .. 'turn', turn)
  return turn
end

-- Appends a state change to the event stream, with all fields that the API sends to clients.
local function emit(type, id, at)
  local t = redis.call('HMGET', task_key(id), 'status', 'stage', 'title', 'error', 'user')
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', 20000, '*', 'type', type, 'task', id, 'at', at,
    'status', t[1] or '', 'stage', t[2] or '', 'title', t[3] or '', 'error', t[4] or '', 'user', t[5] or '0')
end

-- Maximum number of wake-ups in a lane, and of those sent at once for ready tasks of one user.
local MAX_WAKE_UPS, MAX_WAKE_UPS_OF_USER = 1000, 32

-- Wakes one worker that waits for this lane, or the next worker that waits for it.
local function wake_worker(lane)
  local key = P .. 'wake:' .. lane
  if redis.call('LLEN', key) < MAX_WAKE_UPS then redis.call('RPUSH', key, 1) end
  redis.call('EXPIRE', key, 3600)
end

local function make_ready(id)
  local t = redis.call('HMGET', task_key(id), 'user', 'lane', 'score')
  local user, lane = t[1] or '', t[2] or ''
  redis.call('ZADD', P .. 'ready:' .. user .. ':' .. lane, num(t[3]), id)
  redis.call('SADD', P .. 'lanes:' .. user, lane)
  -- A user who joins the ring is served after all users in it.
  if not redis.call('ZSCORE', P .. 'users', user) then redis.call('ZADD', P .. 'users', next_turn(), user) end
  wake_worker(lane)
end

-- Puts a queued task into the paused, delayed or ready tasks, by `paused` and `wake` in its record.
local function place(id, at)
  local t = redis.call('HMGET', task_key(id), 'created_at', 'paused', 'wake')
  redis.call('HSET', task_key(id), 'stage', t[2] == '1' and 'paused' or '', 'updated_at', at)
  if t[2] == '1' then
    redis.call('ZADD', P .. 'paused', num(t[1]), id)
  else
    redis.call('ZADD', P .. 'queued', num(t[1]), id)
    if num(t[3]) > at then redis.call('ZADD', P .. 'delayed', num(t[3]), id) else make_ready(id) end
  end
  emit('task.queued', id, at)
end

-- Removes a task from all keys in which it may wait, for a known user and lane.
local function take_out(id, user, lane)
  local ready, lanes = P .. 'ready:' .. user .. ':' .. lane, P .. 'lanes:' .. user
  redis.call('ZREM', ready, id)
  redis.call('ZREM', P .. 'delayed', id)
  redis.call('ZREM', P .. 'queued', id)
  redis.call('ZREM', P .. 'paused', id)
  if redis.call('ZCARD', ready) == 0 then redis.call('SREM', lanes, lane) end
  if redis.call('SCARD', lanes) == 0 then redis.call('ZREM', P .. 'users', user) end
end

-- Removes a queued task from all keys in which it may wait.
local function displace(id)
  local t = redis.call('HMGET', task_key(id), 'user', 'lane')
  take_out(id, t[1] or '', t[2] or '')
end

-- The first task of a lane and its score. Tasks whose record is missing or damaged are removed on the way.
local function first(user, lane)
  while true do
    local found = redis.call('ZRANGE', P .. 'ready:' .. user .. ':' .. lane, 0, 0, 'WITHSCORES')
    local id = found[1]
    if not id or field(id, 'status') == 'queued' then return id, num(found[2]) end
    take_out(id, user, lane)
  end
end

-- Whether a task comes after another one of the same user.
local function starts_later(a, b) return a.score > b.score or (a.score == b.score and a.id > b.id) end

-- The first task of a user in these lanes (a set), its lane and its score; nil if the user has none there.
local function head(user, lanes)
  local best, best_score, best_lane
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do
    if lanes[lane] then
      local id, score = first(user, lane)
      if id and (not best or score < best_score or (score == best_score and id < best)) then
        best, best_score, best_lane = id, score, lane
      end
    end
  end
  return best, best_lane, best_score
end

local function recordings_of(user) return redis.call('SCARD', P .. 'recordings:' .. user) end

-- Number of running tasks of a user. Recordings of live streams do not count: they last for hours.
local function running_of(user) return redis.call('SCARD', P .. 'running:' .. user) - recordings_of(user) end

-- Number of running tasks of a user that have a slot.
local function slots_of(user) return redis.call('SCARD', P .. 'slots:' .. user) end

-- The running tasks of a user by what they use of their worker, which is the field `slot` of a task: '1' a slot for
-- downloads, '2' one for recordings, '0' neither.
local SETS_OF_SLOTS = { ['1'] = 'slots:', ['2'] = 'recordings:' }

-- Maximum number of running tasks of a user: from the settings, else as configured; 0 while the queue is paused.
local function limit_per_user(configured)
  local settings = redis.call('HMGET', P .. 'settings', 'paused', 'tasks_per_user')
  if settings[1] == '1' then return 0 end
  local limit = tonumber(settings[2]) or num(configured)
  return limit > 0 and limit or math.huge
end

-- Wakes workers for the ready tasks of all users, unless their lanes have wake-ups already or the queue is paused.
local function wake_for_all()
  if redis.call('HGET', P .. 'settings', 'paused') == '1' then return end
  local pending = {}
  for _, user in ipairs(redis.call('ZRANGE', P .. 'users', 0, -1)) do
    for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do
      if pending[lane] == nil then pending[lane] = redis.call('EXISTS', P .. 'wake:' .. lane) == 1 end
      if not pending[lane] then
        local ready = redis.call('ZCARD', P .. 'ready:' .. user .. ':' .. lane)
        for _ = 1, math.min(ready, MAX_WAKE_UPS_OF_USER) do wake_worker(lane) end
      end
    end
  end
end

-- Ends the run of a task, and frees its slot. Its user may be below the limit again, so workers for all lanes of the user
-- are woken.
local function stop_running(id)
  local t = redis.call('HMGET', task_key(id), 'user', 'slot')
  local user = t[1] or ''
  redis.call('ZREM', P .. 'running', id)
  redis.call('ZREM', P .. 'leases', id)
  if SETS_OF_SLOTS[t[2]] then redis.call('SREM', P .. SETS_OF_SLOTS[t[2]] .. user, id) end
  if redis.call('SREM', P .. 'running:' .. user, id) == 1 then
    for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do wake_worker(lane) end
  end
end

-- Has the recorder copy a task to the catalogue: all of it if it has ended, else the saved files among these items, a list
-- such as '1,2' or '*' for all. The task stays here until the recorder has handled this entry, and for a while afterwards.
local function record(id, items)
  local entry = redis.call('XADD', P .. 'record', '*', 'task', id, 'items', items or '*')
  redis.call('HSET', task_key(id), 'entry', entry)
  redis.call('ZREM', P .. 'recorded', id)
  redis.call('PUBLISH', P .. 'record', '')
end

local function is_ended(status) return status == 'completed' or status == 'failed' or status == 'canceled' end

-- Clean-up keys of all storages that may hold files of a task: its own, and those in its rules.
local function cleanup_keys(id)
  local keys = { P .. 'cleanup:' .. field(id, 'storage') }
  local readable, spec = pcall(cjson.decode, field(id, 'spec'))
  local rules = readable and type(spec) == 'table' and spec.rules
  for _, rule in ipairs(type(rules) == 'table' and rules or {}) do
    if type(rule) == 'table' and type(rule.storage) == 'string' then
      table.insert(keys, P .. 'cleanup:' .. rule.storage)
    end
  end
  return keys
end

-- Whether files of an ended task remain on a storage. A worker needs the record of the task to remove them.
local function has_leftovers(id, status)
  if status ~= 'canceled' then return false end
  for _, key in ipairs(cleanup_keys(id)) do
    if redis.call('SISMEMBER', key, id .. ':' .. field(id, 'epoch')) == 1 then return true end
  end
  return false
end

local function delete_delivery(task, delivery)
  redis.call('ZREM', P .. 'outbox', delivery)
  redis.call('ZREM', P .. 'posted', delivery)
  redis.call('DEL', P .. 'delivery:' .. delivery)
  redis.call('SREM', P .. 'deliveries:' .. task, delivery)
end

-- Deletes the records of an ended task.
local function delete_task(id)
  redis.call('ZREM', P .. 'recorded', id)
  redis.call('DEL', task_key(id), P .. 'items:' .. id)
end

-- Ends a task. No other function sets a terminal status.
local function finish(id, status, err, at, err_text, progress)
  local shown = progress and progress ~= '' and { 'progress', progress } or {}
  redis.call('HSET', task_key(id), 'status', status, 'stage', '', 'error', err,
    'error_text', err_text or '', 'worker', '', 'cancel', 0, 'stop', 0, 'paused', 0, 'finished_at', at, 'updated_at', at, unpack(shown))
  stop_running(id)
  redis.call('DEL', P .. 'checkpoints:' .. id)
  if status == 'canceled' and num(field(id, 'epoch')) > 0 then
    for _, key in ipairs(cleanup_keys(id)) do redis.call('SADD', key, id .. ':' .. field(id, 'epoch')) end
    redis.call('PUBLISH', P .. 'control', '')
  end
  emit('task.' .. status, id, at)
  record(id)
end

-- Milliseconds for which a slot that a task has left is meant for the user for whom it made room.
local MADE_ROOM_MS = 5000

-- Puts a running task, or (for a retry) an ended one, back into the queue. No other function does this.
local function enqueue(id, at, delay)
  local made_room_for = field(id, 'yield_to')
  redis.call('HSET', task_key(id), 'status', 'queued', 'worker', '', 'wake', at + delay, 'yield_to', '')
  stop_running(id)
  place(id, at)
  if made_room_for ~= '' then redis.call('SET', P .. 'room:' .. made_room_for, 1, 'PX', MADE_ROOM_MS) end
end

-- Puts a task whose worker is dead back into the queue, and returns 1. A canceled one gets a new epoch and lease instead,
-- which are added to `canceled` for the caller, who ends it.
local function recover(id, at, lease, canceled)
  if field(id, 'status') ~= 'running' then
    stop_running(id) -- its record is missing or damaged
    return 0
  end
  if field(id, 'cancel') == '1' then
    local epoch = bump(id, 'epoch', 1)
    redis.call('ZADD', P .. 'leases', at + lease, id)
    table.insert(canceled, id)
    table.insert(canceled, epoch)
    return 0
  end
  enqueue(id, at, 0)
  return 1
end

-- Has one worker that waits for webhook deliveries read again which one is due first. A damaged key stops no script:
-- the senders repair it.
local function wake_sender()
  local key = P .. 'outbox:wake'
  local length = redis.pcall('LLEN', key)
  if type(length) == 'number' and length < MAX_WAKE_UPS then redis.call('RPUSH', key, 1) end
  redis.call('EXPIRE', key, 3600)
end

-- Adds deliveries: triples of id, task and JSON from ARGV[first] on. Existing deliveries stay unchanged. One without a
-- task is about a link.
local function add_deliveries(first, at)
  for i = first, #ARGV, 3 do
    local id, task, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if redis.call('SET', P .. 'delivery:' .. id, json, 'NX') then
      redis.call('ZADD', P .. 'outbox', at, id)
      redis.call('ZADD', P .. 'posted', at, id)
      if task ~= '' then redis.call('SADD', P .. 'deliveries:' .. task, id) end
      wake_sender()
    end
  end
end

-- Writes items: their count is in ARGV[at], followed by pairs of index and JSON. Returns the next index of ARGV.
local function put_items(id, at)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + 2 * count, 2 do redis.call('HSET', P .. 'items:' .. id, ARGV[i], ARGV[i + 1]) end
  return at + 2 * count + 1
end

-- The storages of tasks that this script has looked up.
local storage_of = {}

-- Storage and path of the copy that an item makes visible, or shares with another file, and whether it is about to do so
-- (else it has done so, or given up); nil if there is none.
local function published(id, json)
  if not json or not (string.find(json, '"final":"', 1, true) or string.find(json, '"duplicate":{', 1, true)) then return nil end
  local readable, item = pcall(cjson.decode, json)
  if not readable or type(item) ~= 'table' then return nil end
  local is_next = item.status == 'running' or item.status == 'finishing'
  if type(item.duplicate) == 'table' then return item.duplicate.storage, item.duplicate.path, is_next end
  if item.storage then return item.storage, item.final, is_next end
  storage_of[id] = storage_of[id] or field(id, 'storage')
  return storage_of[id], item.final, is_next
end

-- The record of an item before this script changes it, read once; false if there is none.
local items_before = {}
local function item_before(id, index)
  local key = id .. ':' .. index
  if items_before[key] == nil then items_before[key] = redis.call('HGET', P .. 'items:' .. id, index) end
  return items_before[key]
end

-- Keeps track of the paths at which these items make files visible, and calls off removals of the copies there. To be
-- called before `put_items`, with the same arguments.
local function track_publishing(id, at)
  local function forget(storage, path, item)
    local key = P .. 'publishing:' .. storage
    if redis.call('HGET', key, path) == item then redis.call('HDEL', key, path) end
  end
  for i = at + 1, at + 2 * tonumber(ARGV[at]), 2 do
    local item = id .. ':' .. ARGV[i]
    local storage, path, is_next = published(id, ARGV[i + 1])
    if path and not is_next then
      forget(storage, path, item)
    else
      local old_storage, old_path, was_next = published(id, item_before(id, ARGV[i]))
      if was_next and not (old_storage == storage and old_path == path) then forget(old_storage, old_path, item) end
      if path then
        redis.call('HSET', P .. 'publishing:' .. storage, path, item)
        redis.call('HDEL', P .. 'removals:' .. storage, path)
      end
    end
  end
end

-- Whether a worker removes a copy now at a path at which one of these items makes a file visible.
local function is_removing(id, at)
  for i = at + 1, at + 2 * tonumber(ARGV[at]), 2 do
    local storage, path, is_next = published(id, ARGV[i + 1])
    if path and is_next and redis.call('EXISTS', P .. 'removing:' .. storage .. ':' .. path) == 1 then return true end
  end
  return false
end

-- Adds to a counter; a damaged one restarts.
local function count(name, amount)
  local done = redis.pcall('HINCRBYFLOAT', P .. 'counters', name, amount)
  if type(done) == 'table' and done.err then redis.call('HSET', P .. 'counters', name, amount) end
end

-- Whether the holder of a claim may write: 'ok', 'fenced' (another claim owns the task, or it has ended), 'cancel', 'stop'
-- (it must end with what is saved, and its worker has not noticed yet) or 'pause' (the user paused it, or it must make room for another user's task). The first
-- of these that applies counts.
local function may_write(id, epoch)
  local t = redis.call('HMGET', task_key(id), 'status', 'epoch', 'cancel', 'paused', 'yield_to', 'stop')
  if t[1] ~= 'running' or t[2] ~= epoch then return 'fenced' end
  if t[3] == '1' then return 'cancel' end
  if t[6] == '1' then return 'stop' end
  if t[4] == '1' or (t[5] or '') ~= '' then return 'pause' end
  return 'ok'
end

-- The same for writes that stop or end the work, which neither a stop nor a pause prevents.
local function may_end(id, epoch)
  local verdict = may_write(id, epoch)
  if verdict == 'stop' or verdict == 'pause' then return 'ok' end
  return verdict
end
