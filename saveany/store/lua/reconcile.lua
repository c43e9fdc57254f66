-- Puts tasks whose lease has expired back into the queue, makes delayed tasks ready, and gives canceled tasks of dead
-- workers a new epoch and lease, so that the caller can end them. Then wakes workers for all ready tasks, because a
-- worker that dies loses its wake-up.
-- Touches: leases, task:<id>, running, running:<user>, slots:<user>, recordings:<user>, room:<user>, queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users,
-- wake:<lane>, turn, events, counters; reads settings.
-- ARGV: limit, lease ms, '1' to recover the tasks of expired leases
-- Returns {number put back into the queue, number of delayed tasks made ready, number of expired leases, {id, epoch of canceled tasks …}}
local at, canceled, returned = now(), {}, 0
local lapsed = redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', at, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ARGV[3] == '1' and lapsed or {}) do returned = returned + recover(id, at, ARGV[2], canceled) end
if ARGV[3] == '1' and #lapsed > 0 then count('lost_leases', #lapsed) end
local due = redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', at, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'delayed', id)
  if field(id, 'status') == 'queued' then make_ready(id) else redis.call('ZREM', P .. 'queued', id) end
end
wake_for_all()
return { returned, #due, #lapsed, canceled }
