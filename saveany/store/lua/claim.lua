-- Claims the next tasks for a worker, one after the other. A slot goes to the user with the fewest slots, among several to
-- one for whom make_room has stopped a task. Tasks that need no slot go by the number of running tasks without one. Equal
-- users are served by turn; the tasks of a user by priority, then by age. No task is claimed while the queue is paused, or
-- of a user at the limit.
-- Each claim consumes one wake-up of the task's lane. If the worker was woken for another lane, that wake-up is put back.
-- If nothing can be claimed, the wake-ups of the lane for which the worker was woken are deleted.
-- Touches: wake:<lane>, users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, slots:<user>,
-- leases, delayed, events; reads items:<id>, settings,
-- room:<user>.
-- ARGV: worker, lease ms, limit of running tasks per user unless the settings have one (0: no limit),
-- the lane of the wake-up that the worker received ('' for none), number of tasks to claim that need a slot, number of
-- those that need none, count of lanes whose tasks need a slot, these lanes …, lanes whose tasks need none …
-- Returns {id, task hash, items hash, 1 if it has a slot, else 0} of each task
local woken, places, lanes = ARGV[4], { num(ARGV[6]), num(ARGV[5]) }, { {}, {} } -- by kind: 1 without a slot, 2 with one
for i = 8, #ARGV do lanes[i < 8 + num(ARGV[7]) and 2 or 1][ARGV[i]] = true end

-- The user to serve next with a task of a kind (2: with a slot, 1: without one), that task, its lane and its score.
local function next_of(kind, limit)
  local found, fewest = nil, math.huge
  for _, user in ipairs(places[kind] > 0 and redis.call('ZRANGE', P .. 'users', 0, -1) or {}) do
    local running, slots = running_of(user), slots_of(user)
    local has = kind == 2 and slots - 0.5 * redis.call('EXISTS', P .. 'room:' .. user) or running - slots
    if running < limit and has < fewest then
      local id, lane, score = head(user, lanes[kind])
      if id then found, fewest = { user = user, id = id, lane = lane, score = score }, has end
    end
    if fewest < 0 or (kind == 1 and fewest == 0) then break end
  end
  return found
end

-- The next task of either kind: that which is first in the queue, so that the running tasks that a user may have are these.
local function next_task(limit)
  local small, large = next_of(1, limit), next_of(2, limit)
  if small and large then return starts_later(small, large) and large or small end
  return small or large
end

local function claim(user, id, lane, has_slot, at)
  take_out(id, user, lane)
  redis.call('ZADD', P .. 'users', 'XX', next_turn(), user)
  local t = redis.call('HMGET', task_key(id), 'epoch', 'attempts', 'created_at', 'user')
  redis.call('HSETNX', task_key(id), 'started_at', at)
  redis.call('HSET', task_key(id), 'status', 'running', 'stage', 'resolving', 'worker', ARGV[1], 'claimed_at', at,
    'updated_at', at, 'epoch', string.format('%d', num(t[1]) + 1), 'attempts', string.format('%d', num(t[2]) + 1), 'slot', has_slot)
  redis.call('ZADD', P .. 'running', num(t[3]), id)
  redis.call('SADD', P .. 'running:' .. (t[4] or ''), id)
  if has_slot == 1 then redis.call('SADD', P .. 'slots:' .. (t[4] or ''), id) end
  redis.call('ZADD', P .. 'leases', at + ARGV[2], id)
  emit('task.running', id, at)
end

local found, limit, at, unused = {}, limit_per_user(ARGV[3]), now(), woken
while places[1] + places[2] > 0 do
  local task = next_task(limit)
  if not task then break end
  local kind = lanes[2][task.lane] and 2 or 1
  places[kind] = places[kind] - 1
  if task.lane == unused then unused = '' else redis.call('LPOP', P .. 'wake:' .. task.lane) end
  claim(task.user, task.id, task.lane, kind - 1, at)
  table.insert(found, { task.id, redis.call('HGETALL', task_key(task.id)), redis.call('HGETALL', P .. 'items:' .. task.id), kind - 1 })
end
local kind = (lanes[2][woken] and 2) or (lanes[1][woken] and 1)
if #found == 0 and kind and places[kind] > 0 then
  redis.call('DEL', P .. 'wake:' .. woken)
elseif unused ~= '' then
  wake_worker(unused)
end
return found
