-- Stops a task that has been planned, to end it with the files that are saved. A worker ends it: the one that runs it, or
-- for a queued task the next one that claims it.
-- Touches: task:<id>, queued, paused, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, delayed, events, turn; publishes to control.
-- ARGV: id
-- Returns 'requested' | 'empty' (nothing has been planned, so nothing can be kept) | 'ended' (or will end, because it was canceled) | 'unknown'
local id = ARGV[1]
local t = redis.call('HMGET', task_key(id), 'status', 'cancel', 'items_total', 'slot')
if not t[1] then return 'unknown' end
if (t[1] ~= 'queued' and t[1] ~= 'running') or t[2] == '1' then return 'ended' end
if num(t[3]) == 0 and t[4] ~= '2' then return 'empty' end -- a recording has something before its first file
redis.call('HSET', task_key(id), 'stop', 1, 'paused', 0)
if t[1] == 'running' then
  redis.call('PUBLISH', P .. 'control', id)
else
  redis.call('HSET', task_key(id), 'wake', 0)
  displace(id)
  place(id, now())
end
return 'requested'
