-- Changes the priority of a task. For a running task it applies when the task returns to the queue.
-- Touches: task:<id>, ready:<user>:<lane>, events.
-- ARGV: id, spec JSON with the new priority, the priority
-- Returns 'ok' | 'ended' | 'unknown'
local id = ARGV[1]
local t = redis.call('HMGET', task_key(id), 'status', 'created_at', 'user', 'lane')
if not t[1] then return 'unknown' end
if t[1] ~= 'queued' and t[1] ~= 'running' then return 'ended' end
local at, score = now(), num(t[2]) - tonumber(ARGV[3]) * 1e13
redis.call('HSET', task_key(id), 'spec', ARGV[2], 'score', score, 'updated_at', at)
redis.call('ZADD', P .. 'ready:' .. (t[3] or '') .. ':' .. (t[4] or ''), 'XX', score, id)
emit('task.updated', id, at)
return 'ok'
