-- Claims the next task for a worker. The user with the fewest running tasks is served first, equal users by turn; the
-- tasks of a user by priority, then by age. No task is claimed while the queue is paused, or of a user at the limit.
-- A claim consumes one wake-up of the task's lane. If the worker was woken for another lane, that wake-up is put back.
-- If nothing can be claimed, the wake-ups of the lane for which the worker was woken are deleted.
-- Touches: wake:<lane>, users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, leases,
-- delayed, events; reads items:<id>, settings.
-- ARGV: worker, lease ms, limit of running tasks per user unless the settings have one (0: no limit),
-- the lane of the wake-up that the worker received ('' for none), lanes that the worker can run …
-- Returns {id, task hash, items hash}, or false if no task can run
local lanes = {}
for i = 5, #ARGV do lanes[ARGV[i]] = true end

local fewest = limit_per_user(ARGV[3])
local user, id, lane
for _, each in ipairs(redis.call('ZRANGE', P .. 'users', 0, -1)) do
  local running = running_of(each)
  if running < fewest then
    local task, task_lane = head(each, lanes)
    if task then user, id, lane, fewest = each, task, task_lane, running end
  end
  if fewest == 0 then break end
end
if not id then
  redis.call('DEL', P .. 'wake:' .. ARGV[4])
  return false
end
if ARGV[4] ~= lane then
  redis.call('LPOP', P .. 'wake:' .. lane)
  if ARGV[4] ~= '' then wake_worker(ARGV[4]) end
end

local at = now()
take_out(id, user, lane)
redis.call('ZADD', P .. 'users', 'XX', next_turn(), user)
bump(id, 'epoch', 1)
bump(id, 'attempts', 1)
redis.call('HSETNX', task_key(id), 'started_at', at)
redis.call('HSET', task_key(id), 'status', 'running', 'stage', 'resolving', 'worker', ARGV[1], 'claimed_at', at,
  'updated_at', at)
redis.call('ZADD', P .. 'running', num(field(id, 'created_at')), id)
redis.call('SADD', P .. 'running:' .. field(id, 'user'), id)
redis.call('ZADD', P .. 'leases', at + ARGV[2], id)
emit('task.running', id, at)
return { id, redis.call('HGETALL', task_key(id)), redis.call('HGETALL', P .. 'items:' .. id) }
