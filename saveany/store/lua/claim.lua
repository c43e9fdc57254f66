-- Give a worker the next task that may run there: of the user who has the fewest running, of several of those the
-- one whose turn it is; then by priority, then by age. Nothing while the queue is paused, and nothing of a user who
-- has as many running as the limit allows.
-- Each task uses up one wake-up of its lane. If the worker was woken for another lane, it puts that wake-up back. If
-- nothing can be claimed, the lane it was woken for needs no wake-ups.
-- Touches: wake:<lane>, users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, leases,
-- events; reads items:<id>, settings.
-- ARGV: worker, lease ms, running tasks a user may have unless settings say otherwise (0: no limit),
-- the lane of the wake-up that the worker took ('' for none), lanes the worker can run …
-- Returns {id, task hash, items hash} or nothing
local can = {}
for i = 5, #ARGV do can[ARGV[i]] = true end

local fewest = most_per_user(ARGV[3])
local user, id, lane
for _, each in ipairs(redis.call('ZRANGE', P .. 'users', 0, -1)) do
  local running = running_of(each)
  if running < fewest then
    local its, where = head(each, can)
    if its then user, id, lane, fewest = each, its, where, running end
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
