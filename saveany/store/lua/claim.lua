-- Give a worker the next task that may run there: round robin over users, then priority, then age. Nothing while
-- the queue is paused, and nothing of a user who has as many running as the limit allows.
-- Touches: users, lanes:<user>, ready:<user>:<lane>, turn, task:<id>, queued, running, running:<user>, leases,
-- events; reads items:<id>, settings.
-- ARGV: worker, lease ms, running tasks a user may have unless settings say otherwise (0: no limit), lanes the worker can run …
-- Returns {id, task hash, items hash} or nothing
local settings = redis.call('HMGET', P .. 'settings', 'paused', 'tasks_per_user')
if settings[1] == '1' then return false end
local most = tonumber(settings[2]) or num(ARGV[3])

local can = {}
for i = 4, #ARGV do can[ARGV[i]] = true end

-- The first task of a lane, and its score. What is there by mistake, its record gone or damaged, is taken out.
local function first(user, lane)
  while true do
    local found = redis.call('ZRANGE', P .. 'ready:' .. user .. ':' .. lane, 0, 0, 'WITHSCORES')
    local id = found[1]
    if not id or field(id, 'status') == 'queued' then return id, num(found[2]) end
    take_out(id, user, lane)
  end
end

local function head(user)
  local best, best_score, best_lane
  for _, lane in ipairs(redis.call('SMEMBERS', P .. 'lanes:' .. user)) do
    if can[lane] then
      local id, score = first(user, lane)
      if id and (not best or score < best_score) then best, best_score, best_lane = id, score, lane end
    end
  end
  return best, best_lane
end

for _, user in ipairs(redis.call('ZRANGE', P .. 'users', 0, -1)) do
  local full = most > 0 and redis.call('SCARD', P .. 'running:' .. user) >= most
  local id, lane
  if not full then id, lane = head(user) end
  if id then
    local at = now()
    take_out(id, user, lane)
    redis.call('ZADD', P .. 'users', 'XX', next_turn(), user)
    bump(id, 'epoch', 1)
    bump(id, 'attempts', 1)
    redis.call('HSETNX', task_key(id), 'started_at', at)
    redis.call('HSET', task_key(id), 'status', 'running', 'stage', 'resolving', 'worker', ARGV[1],
      'updated_at', at)
    redis.call('ZADD', P .. 'running', num(field(id, 'created_at')), id)
    redis.call('SADD', P .. 'running:' .. field(id, 'user'), id)
    redis.call('ZADD', P .. 'leases', at + ARGV[2], id)
    emit('task.running', id, at)
    return { id, redis.call('HGETALL', task_key(id)), redis.call('HGETALL', P .. 'items:' .. id) }
  end
end
return false
