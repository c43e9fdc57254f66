-- Pauses a task. A queued task moves to `paused`; a running one is marked, and its worker releases it.
-- Touches: task:<id>, queued, paused, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, delayed, events, turn; publishes to control.
-- ARGV: id
-- Returns 'paused' | 'requested' | 'ended' (or will end, because it was canceled or stopped) | 'unknown'
local id = ARGV[1]
local t = redis.call('HMGET', task_key(id), 'status', 'cancel', 'paused', 'stop')
if not t[1] then return 'unknown' end
if t[4] == '1' then return 'ended' end
if t[1] == 'running' and t[2] ~= '1' then
  redis.call('HSET', task_key(id), 'paused', 1)
  redis.call('PUBLISH', P .. 'control', id)
  return 'requested'
end
if t[1] ~= 'queued' then return 'ended' end
if t[3] ~= '1' then
  redis.call('HSET', task_key(id), 'paused', 1)
  displace(id)
  place(id, now())
end
return 'paused'
