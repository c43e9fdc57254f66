-- Puts a claimed task back into the queue without counting an attempt: it was paused, makes room or must wait, or its
-- worker stops.
-- Touches: task:<id>, away:<storage>, running, running:<user>, slots:<user>, recordings:<user>, room:<user>, leases, queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, turn, events.
-- ARGV: id, epoch, delay ms, why it waits, the storage it waits for ('' for none),
-- why it waits as a translatable text (JSON, '' for none), its lane from now on ('' for the same)
-- Returns 'ok' | 'fenced' | 'cancel'
local verdict = may_end(ARGV[1], ARGV[2])
if verdict == 'ok' then
  bump(ARGV[1], 'attempts', -1)
  redis.call('HSET', task_key(ARGV[1]), 'reason', ARGV[4], 'away', ARGV[5], 'reason_text', ARGV[6])
  if ARGV[7] ~= '' then redis.call('HSET', task_key(ARGV[1]), 'lane', ARGV[7]) end
  if ARGV[5] ~= '' then redis.call('SADD', P .. 'away:' .. ARGV[5], ARGV[1]) end
  enqueue(ARGV[1], now(), tonumber(ARGV[3]))
end
return verdict
