-- Claims the next tasks for a worker, one after the other. A slot goes to the user with the fewest slots, among several to
-- one for whom make_room has stopped a task. Tasks that need no slot go by the number of running tasks without one, and
-- recordings, which have slots of their own, by that of running recordings. Equal users are served by turn; the tasks of a
-- user by priority, then by age. No task is claimed while the queue is paused, or of a user at the limit, which does not
-- hold for recordings.
-- Each claim consumes one wake-up of the task's lane. If the worker was woken for another lane, that wake-up is put back.
-- If nothing can be claimed, the wake-ups of the lane for which the worker was woken are deleted.
-- Touches: wake:<lane>, users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, slots:<user>, recordings:<user>,
-- leases, delayed, events; reads items:<id>, settings,
-- room:<user>.
-- ARGV: worker, lease ms, limit of running tasks per user unless the settings have one (0: no limit),
-- the lane of the wake-up that the worker received ('' for none), number of tasks to claim that need a slot, number of
-- those that need none, number of recordings to claim, count of lanes whose tasks need a slot, count of lanes of recordings,
-- the former lanes …, the latter lanes …, lanes whose tasks need no slot …
-- Returns {id, task hash, items hash, 1 if it has a slot, else 0} of each task
-- Kinds of tasks: 1 without a slot, 2 with one, 3 recordings.
local woken, places, lanes = ARGV[4], { num(ARGV[6]), num(ARGV[5]), num(ARGV[7]) }, { {}, {}, {} }
local live_from, small_from = 10 + num(ARGV[8]), 10 + num(ARGV[8]) + num(ARGV[9])
for i = 10, #ARGV do lanes[i < live_from and 2 or i < small_from and 3 or 1][ARGV[i]] = true end

-- The user to serve next with a task of a kind, that task, its lane and its score.
local function next_of(kind, limit)
  local found, fewest = nil, math.huge
  for _, user in ipairs(places[kind] > 0 and redis.call('ZRANGE', P .. 'users', 0, -1) or {}) do
    local running, slots, has = running_of(user), slots_of(user), recordings_of(user)
    if kind == 2 then has = slots - 0.5 * redis.call('EXISTS', P .. 'room:' .. user) end
    if kind == 1 then has = running - slots end
    if (kind == 3 and limit > 0 or running < limit) and has < fewest then
      local id, lane, score = head(user, lanes[kind])
      if id then found, fewest = { user = user, id = id, lane = lane, score = score, kind = kind }, has end
    end
    if fewest < 0 or (kind ~= 2 and fewest == 0) then break end
  end
  return found
end

-- The next task of any kind: that which is first in the queue, so that the running tasks that a user may have are these.
local function next_task(limit)
  local earliest
  for kind = 1, 3 do
    local task = next_of(kind, limit)
    if task and not (earliest and starts_later(task, earliest)) then earliest = task end
  end
  return earliest
end

local function claim(user, id, lane, slot, at)
  take_out(id, user, lane)
  redis.call('ZADD', P .. 'users', 'XX', next_turn(), user)
  local t = redis.call('HMGET', task_key(id), 'epoch', 'attempts', 'created_at', 'user')
  redis.call('HSETNX', task_key(id), 'started_at', at)
  redis.call('HSET', task_key(id), 'status', 'running', 'stage', 'resolving', 'worker', ARGV[1], 'claimed_at', at,
    'updated_at', at, 'epoch', string.format('%d', num(t[1]) + 1), 'attempts', string.format('%d', num(t[2]) + 1), 'slot', slot)
  redis.call('ZADD', P .. 'running', num(t[3]), id)
  redis.call('SADD', P .. 'running:' .. (t[4] or ''), id)
  local set = SETS_OF_SLOTS[tostring(slot)]
  if set then redis.call('SADD', P .. set .. (t[4] or ''), id) end
  redis.call('ZADD', P .. 'leases', at + ARGV[2], id)
  emit('task.running', id, at)
end

local found, limit, at, unused = {}, limit_per_user(ARGV[3]), now(), woken
while places[1] + places[2] + places[3] > 0 do
  local task = next_task(limit)
  if not task then break end
  places[task.kind] = places[task.kind] - 1
  if task.lane == unused then unused = '' else redis.call('LPOP', P .. 'wake:' .. task.lane) end
  claim(task.user, task.id, task.lane, task.kind - 1, at)
  local record, items = redis.call('HGETALL', task_key(task.id)), redis.call('HGETALL', P .. 'items:' .. task.id)
  table.insert(found, { task.id, record, items, task.kind == 2 and 1 or 0 })
end
local kind = (lanes[2][woken] and 2) or (lanes[3][woken] and 3) or (lanes[1][woken] and 1)
if #found == 0 and kind and places[kind] > 0 then
  redis.call('DEL', P .. 'wake:' .. woken)
elseif unused ~= '' then
  wake_worker(unused)
end
return found
