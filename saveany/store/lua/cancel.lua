-- Cancels a task. A queued task ends here; a running one is marked, and its worker cleans up and ends it.
-- Touches: task:<id>, queued, paused, delayed, running:<user>, slots:<user>, recordings:<user>, leases, checkpoints:<id>, ready:<user>:<lane>, lanes:<user>, users,
-- wake:<lane>, record, recorded, cleanup:<storage>, events, outbox, delivery:<id>, deliveries:<task>, posted; publishes to control.
-- ARGV: id, (delivery id, task, JSON) …
-- Returns 'canceled' | 'requested' | 'ended' | 'unknown'
local id = ARGV[1]
local status = field(id, 'status')
if status == '' then return 'unknown' end
if status == 'running' then
  redis.call('HSET', task_key(id), 'cancel', 1)
  redis.call('PUBLISH', P .. 'control', id)
  return 'requested'
end
if status ~= 'queued' then return 'ended' end
local at = now()
displace(id)
finish(id, 'canceled', '', at)
add_deliveries(2, at)
return 'canceled'
