-- Resumes a paused task. If its worker has not stopped yet, it continues there or is released to the queue.
-- Touches: task:<id>, queued, paused, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, delayed, events, turn.
-- ARGV: id
-- Returns 'resumed' (also if it was not paused) | 'ended' (or will end, because it was canceled) | 'unknown'
local id = ARGV[1]
local t = redis.call('HMGET', task_key(id), 'status', 'cancel', 'paused')
if not t[1] then return 'unknown' end
if (t[1] ~= 'queued' and t[1] ~= 'running') or t[2] == '1' then return 'ended' end
if t[3] == '1' then
  redis.call('HSET', task_key(id), 'paused', 0)
  if t[1] == 'queued' then
    displace(id)
    place(id, now())
  end
end
return 'resumed'
