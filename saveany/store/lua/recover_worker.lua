-- Puts the tasks of a worker that is known to be dead back into the queue at once, and gives canceled ones a new epoch and
-- lease, so that the caller can end them.
-- Touches: leases, task:<id>, running, running:<user>, slots:<user>, recordings:<user>, room:<user>, queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users,
-- wake:<lane>, turn, events.
-- ARGV: worker, lease ms
-- Returns {number put back into the queue, {id, epoch of canceled tasks …}}
local at, canceled, returned = now(), {}, 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
  if field(id, 'worker') == ARGV[1] then returned = returned + recover(id, at, ARGV[2], canceled) end
end
return { returned, canceled }
