-- Give a worker the next task that may run there: round robin over users, then priority, then age. Nothing while
-- the queue is paused, and nothing of a user who has as many running as the limit allows.
-- Touches: users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, leases,
-- events; reads items:<id>, settings.
-- ARGV: worker, lease ms, running tasks a user may have unless settings say otherwise (0: no limit), lanes the worker can run …
-- Returns {task hash, items hash} or nothing
local settings = redis.call('HMGET', P .. 'settings', 'paused', 'tasks_per_user')
if settings[1] == '1' then return false end
local most = tonumber(settings[2] or ARGV[3])

local can = {}
for i = 4, #ARGV do can[ARGV[i]] = true end

local function head(user)
  local best, best_score
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do
    if can[lane] then
      local first = redis.call('ZRANGE', P .. 'ready:' .. user .. ':' .. lane, 0, 0, 'WITHSCORES')
      if first[1] and (not best or tonumber(first[2]) < best_score) then
        best, best_score = first[1], tonumber(first[2])
      end
    end
  end
  return best
end

for _, user in ipairs(redis.call('ZRANGE', P .. 'users', 0, -1)) do
  local full = most > 0 and redis.call('SCARD', P .. 'running:' .. user) >= most
  local id = not full and head(user)
  if id then
    local at = now()
    displace(id)
    redis.call('ZADD', P .. 'users', 'XX', redis.call('INCR', P .. 'turn'), user)
    redis.call('HINCRBY', task_key(id), 'epoch', 1)
    redis.call('HINCRBY', task_key(id), 'attempts', 1)
    redis.call('HSETNX', task_key(id), 'started_at', at)
    redis.call('HSET', task_key(id), 'status', 'running', 'stage', 'resolving', 'worker', ARGV[1],
      'updated_at', at)
    redis.call('ZADD', P .. 'running', field(id, 'created_at'), id)
    redis.call('SADD', P .. 'running:' .. user, id)
    redis.call('ZADD', P .. 'leases', at + ARGV[2], id)
    emit('task.running', id, at)
    return { redis.call('HGETALL', task_key(id)), redis.call('HGETALL', P .. 'items:' .. id) }
  end
end
return false
