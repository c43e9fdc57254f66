-- Shared by every script: put before each of them when they are loaded (store/db.py). `P` is the key prefix.
-- All times are milliseconds of this server's clock.
--
-- The keys of the store:
--   task:<id>               hash    the task; `epoch` fences every write after a claim
--   items:<id>              hash    item index -> JSON, one field per file
--   checkpoints:<id>        hash    item index -> which of its bytes are durable, while the task has not ended
--   queued, paused, running zset    live tasks by creation time, for the list; each in one of them
--   running:<user>          set     running tasks of the user, for the limit
--   users                   zset    the ring: users with ready tasks, by the turn they were last served
--   lanes:<user>            set     lanes in which the user has ready tasks
--   ready:<user>:<lane>     zset    tasks ready to be claimed, by priority, then time
--   wake:<lane>             list    a wake-up for each task that became ready in the lane; workers wait for them
--   delayed                 zset    queued tasks that wait, by the time they become ready
--   away:<storage>          set     tasks that were put off until that storage works again, or for another reason since
--   leases                  zset    running tasks by the time their lease ends
--   history[:<index>]       zset    ended tasks by the time they ended: all, by status, type, user, storage
--   cleanup:<storage>       set     <id>:<epoch> of canceled tasks whose remains a worker must remove
--   events                  stream  state changes, capped; its ids are the event ids of the API
--   outbox                  zset    webhook deliveries by the time of their next attempt
--   delivery:<id>           string  one delivery as JSON
--   posted                  zset    all deliveries by the time they were written
--   deliveries:<task>       set     ids of the deliveries of a task
--   settings                hash    what is changed while running: `paused` is 1 if the queue is, limits in numbers
--   counters                hash    sums for /metrics, by name
--   idem:<key>              hash    an Idempotency-Key: hash of its body, id of its task
--   turn                    string  counter behind the ring
--   room:<user>             string  a task has just been told to make room for one of this user; ends by itself
--   suffix:<storage>:<path> string  counter behind file_1, file_2 …
--   name:<storage>:<path>   string  <task>-<item> that may use this path, where the storage cannot tell
--   asks:<storage>, answer:<id>  list  questions about a storage, and what a worker replies; seconds old at most
--   worker:<id>, workers    string, set  heartbeats
--   storages                hash    storage -> id its disk must show; after a "?" while none shows it yet
--   watches                 hash    id -> watched chat, JSON with the id of the last message that was handled
--   watches:tasks           hash    task -> its watch, until its user has been told how it ended
--   people                  hash    user -> what the user likes: language, defaults, rules; JSON
--   lock:<name>             string  locks that end by themselves
--   meta                    hash    schema version, shared secrets

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function task_key(id) return P .. 'task:' .. id end

local function field(id, name) return redis.call('HGET', task_key(id), name) or '' end

-- What ought to be a number, even if it is damaged.
local function num(value)
  local n = tonumber(value)
  if not n or n ~= n or math.abs(n) > 2 ^ 53 then return 0 end
  return n
end

-- Adds to a number of a task's record. Unlike HINCRBY it gets over a damaged one.
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

-- Appends a state change to the stream; what the API needs to tell of it travels in the entry.
local function emit(type, id, at)
  local t = redis.call('HMGET', task_key(id), 'status', 'stage', 'title', 'error', 'user')
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', 20000, '*', 'type', type, 'task', id, 'at', at,
    'status', t[1] or '', 'stage', t[2] or '', 'title', t[3] or '', 'error', t[4] or '', 'user', t[5] or '0')
end

-- Wake-ups that wait in a lane at most, and those sent at once for the tasks of one user that were ready before.
local MAX_WAKE_UPS, MAX_WAKE_UPS_OF_USER = 1000, 32

-- Wakes one worker that waits for this lane, or the next one that will.
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
  -- Who joins the ring waits behind everyone who is in it already.
  if not redis.call('ZSCORE', P .. 'users', user) then redis.call('ZADD', P .. 'users', next_turn(), user) end
  wake_worker(lane)
end

-- Puts a task with status queued where it has to wait: `paused` and `wake` (not before) of its record decide.
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

-- Takes a task out of every place it may wait in, and out of that lane of that user.
local function take_out(id, user, lane)
  local ready, lanes = P .. 'ready:' .. user .. ':' .. lane, P .. 'lanes:' .. user
  redis.call('ZREM', ready, id)
  redis.call('ZREM', P .. 'delayed', id)
  redis.call('ZREM', P .. 'queued', id)
  redis.call('ZREM', P .. 'paused', id)
  if redis.call('ZCARD', ready) == 0 then redis.call('SREM', lanes, lane) end
  if redis.call('SCARD', lanes) == 0 then redis.call('ZREM', P .. 'users', user) end
end

-- Takes a queued task out of every place it may wait in.
local function displace(id)
  local t = redis.call('HMGET', task_key(id), 'user', 'lane')
  take_out(id, t[1] or '', t[2] or '')
end

-- The first task of a lane, and its score. What is there by mistake, its record gone or damaged, is taken out.
local function first(user, lane)
  while true do
    local found = redis.call('ZRANGE', P .. 'ready:' .. user .. ':' .. lane, 0, 0, 'WITHSCORES')
    local id = found[1]
    if not id or field(id, 'status') == 'queued' then return id, num(found[2]) end
    take_out(id, user, lane)
  end
end

-- The task of a user that goes first in those lanes (a set), and its lane; nothing if there is none.
local function head(user, lanes)
  local best, best_score, best_lane
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do
    if lanes[lane] then
      local id, score = first(user, lane)
      if id and (not best or score < best_score) then best, best_score, best_lane = id, score, lane end
    end
  end
  return best, best_lane
end

local function running_of(user) return redis.call('SCARD', P .. 'running:' .. user) end

-- How many tasks of a user may run, as the settings say, else as configured: 0 while the queue is paused.
local function most_per_user(configured)
  local settings = redis.call('HMGET', P .. 'settings', 'paused', 'tasks_per_user')
  if settings[1] == '1' then return 0 end
  local most = tonumber(settings[2]) or num(configured)
  return most > 0 and most or math.huge
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

-- The slot of a task becomes free: its user may be below the limit again, also for tasks of other workers' lanes.
local function stop_running(id)
  local user = field(id, 'user')
  redis.call('ZREM', P .. 'running', id)
  redis.call('ZREM', P .. 'leases', id)
  if redis.call('SREM', P .. 'running:' .. user, id) == 1 then
    for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do wake_worker(lane) end
  end
end

local function history_keys(id, status)
  local t = redis.call('HMGET', task_key(id), 'type', 'user', 'storage')
  local all = P .. 'history'
  return { all, all .. ':status:' .. status, all .. ':type:' .. (t[1] or ''), all .. ':user:' .. (t[2] or ''),
    all .. ':storage:' .. (t[3] or '') }
end

-- Where files of a task may lie: keys of the clean-up of its own storage, and of those its rules lead into.
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

-- Whether files of an ended task wait to be removed: a worker needs its record for that.
local function is_cleaned_up(id, status)
  if status ~= 'canceled' then return false end
  for _, key in ipairs(cleanup_keys(id)) do
    if redis.call('SISMEMBER', key, id .. ':' .. field(id, 'epoch')) == 1 then return true end
  end
  return false
end

-- Removes an ended task for good, and its webhooks.
local function erase(id, status)
  for _, key in ipairs(history_keys(id, status)) do redis.call('ZREM', key, id) end
  for _, delivery in ipairs(redis.call('SMEMBERS', P .. 'deliveries:' .. id)) do
    redis.call('ZREM', P .. 'outbox', delivery)
    redis.call('ZREM', P .. 'posted', delivery)
    redis.call('DEL', P .. 'delivery:' .. delivery)
  end
  redis.call('DEL', task_key(id), P .. 'items:' .. id, P .. 'deliveries:' .. id)
end

-- The only way into a terminal state.
local function finish(id, status, err, at, err_text)
  redis.call('HSET', task_key(id), 'status', status, 'stage', '', 'error', err,
    'error_text', err_text or '', 'worker', '', 'cancel', 0, 'paused', 0, 'finished_at', at, 'updated_at', at)
  stop_running(id)
  redis.call('DEL', P .. 'checkpoints:' .. id)
  for _, key in ipairs(history_keys(id, status)) do redis.call('ZADD', key, at, id) end
  if status == 'canceled' and num(field(id, 'epoch')) > 0 then
    for _, key in ipairs(cleanup_keys(id)) do redis.call('SADD', key, id .. ':' .. field(id, 'epoch')) end
  end
  emit('task.' .. status, id, at)
end

-- The only way back to the queue, out of running or (by a retry) out of a terminal state.
local function enqueue(id, at, delay)
  local made_room = field(id, 'yield') == '1'
  redis.call('HSET', task_key(id), 'status', 'queued', 'worker', '', 'wake', at + delay, 'yield', 0)
  stop_running(id)
  place(id, at)
  -- Whoever it made room for is served first.
  if made_room then redis.call('ZADD', P .. 'users', 'XX', next_turn(), field(id, 'user')) end
end

-- Deliveries come as id, task, JSON triples from ARGV[first] on. One that was written before stays as it is.
local function post(first, at)
  for i = first, #ARGV, 3 do
    local id, task, json = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if redis.call('SET', P .. 'delivery:' .. id, json, 'NX') then
      redis.call('ZADD', P .. 'outbox', at, id)
      redis.call('ZADD', P .. 'posted', at, id)
      redis.call('SADD', P .. 'deliveries:' .. task, id)
    end
  end
end

-- Items come as a count in ARGV[at], then index, JSON pairs. Returns the place behind them.
local function put_items(id, at)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + 2 * count, 2 do redis.call('HSET', P .. 'items:' .. id, ARGV[i], ARGV[i + 1]) end
  return at + 2 * count + 1
end

-- Adds to a sum; one that is damaged begins again.
local function count(name, amount)
  local done = redis.pcall('HINCRBYFLOAT', P .. 'counters', name, amount)
  if type(done) == 'table' and done.err then redis.call('HSET', P .. 'counters', name, amount) end
end

-- Whether the holder of a claim may write: 'ok', 'fenced' (another claim owns the task, or it ended), 'cancel'
-- or 'pause' (the user wants it to stop, or it must make room for a task of another; a cancel goes first).
local function may_write(id, epoch)
  local t = redis.call('HMGET', task_key(id), 'status', 'epoch', 'cancel', 'paused', 'yield')
  if t[1] ~= 'running' or t[2] ~= epoch then return 'fenced' end
  if t[3] == '1' then return 'cancel' end
  if t[4] == '1' or t[5] == '1' then return 'pause' end
  return 'ok'
end

-- The same for what a worker does to stop or to end: a pause does not stand in its way.
local function may_end(id, epoch)
  local verdict = may_write(id, epoch)
  if verdict == 'pause' then return 'ok' end
  return verdict
end
