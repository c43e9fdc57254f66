-- Claims the next tasks for a worker, one after the other. The user with the fewest running tasks is served first, equal
-- users by turn; the tasks of a user by priority, then by age. No task is claimed while the queue is paused, or of a user
-- at the limit.
-- Each claim consumes one wake-up of the task's lane. If the worker was woken for another lane, that wake-up is put back.
-- If nothing can be claimed, the wake-ups of the lane for which the worker was woken are deleted.
-- Touches: wake:<lane>, users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, slots:<user>,
-- leases, delayed, events; reads items:<id>, settings.
-- ARGV: worker, lease ms, limit of running tasks per user unless the settings have one (0: no limit),
-- the lane of the wake-up that the worker received ('' for none), number of tasks to claim that need a slot, number of
-- those that need none, count of lanes whose tasks need a slot, these lanes …, lanes whose tasks need none …
-- Returns {id, task hash, items hash, 1 if it has a slot, else 0} of each task
local woken, places, slot_lanes, all = ARGV[4], { num(ARGV[6]), num(ARGV[5]) }, {}, {}
local first_free = 8 + num(ARGV[7])
for i = 8, #ARGV do all[ARGV[i]] = i < first_free and 2 or 1 end

-- The lanes for whose tasks there is room.
local function open_lanes()
  local lanes = {}
  for lane, kind in pairs(all) do
    if places[kind] > 0 then lanes[lane] = true end
  end
  return lanes
end

local function next_task(limit)
  local lanes, fewest, user, id, lane = open_lanes(), limit, nil, nil, nil
  for _, each in ipairs(redis.call('ZRANGE', P .. 'users', 0, -1)) do
    local running = running_of(each)
    if running < fewest then
      local task, task_lane = head(each, lanes)
      if task then user, id, lane, fewest = each, task, task_lane, running end
    end
    if fewest == 0 then break end
  end
  return user, id, lane
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

local found, limit, at, kind, unused = {}, limit_per_user(ARGV[3]), now(), nil, woken
while places[1] + places[2] > 0 do
  local user, id, lane = next_task(limit)
  if not id then break end
  kind = all[lane]
  places[kind] = places[kind] - 1
  if lane == unused then unused = '' else redis.call('LPOP', P .. 'wake:' .. lane) end
  claim(user, id, lane, kind - 1, at)
  table.insert(found, { id, redis.call('HGETALL', task_key(id)), redis.call('HGETALL', P .. 'items:' .. id), kind - 1 })
end
if #found == 0 and all[woken] and places[all[woken]] > 0 then
  redis.call('DEL', P .. 'wake:' .. woken)
elseif unused ~= '' then
  wake_worker(unused)
end
return found
