-- Puts a failed or canceled task back into the queue under the same id. Finished items stay finished.
-- Leftovers of a canceled run are left to the next claim and no longer to the clean-up.
-- Touches: task:<id>, items:<id>, record, recorded, cleanup:<storage>, running:<user>, slots:<user>, recordings:<user>, room:<user>, leases, queued, paused, delayed,
-- ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, turn, events.
-- ARGV: id, run it was seen in, item count, (index, item JSON) …
-- Returns 'ok' | 'state' | 'unknown'
local id = ARGV[1]
local status = field(id, 'status')
if status == '' then return 'unknown' end
if (status ~= 'failed' and status ~= 'canceled') or field(id, 'run') ~= ARGV[2] then return 'state' end
for _, key in ipairs(cleanup_keys(id)) do redis.call('SREM', key, id .. ':' .. field(id, 'epoch')) end
put_items(id, 3)
bump(id, 'run', 1)
redis.call('HSET', task_key(id), 'error', '', 'error_text', '', 'cancel', 0)
redis.call('HDEL', task_key(id), 'finished_at', 'started_at', 'webhook', 'yields')
enqueue(id, now(), 0)
record(id)
return 'ok'
