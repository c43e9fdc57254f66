-- Give a claimed task back: it was paused, it makes room, its worker is told to stop, or it must wait. Spends no attempt.
-- Touches: task:<id>, running, running:<user>, leases, queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users, turn, events.
-- ARGV: id, epoch, delay ms, why it waits
-- Returns 'ok' | 'fenced' | 'cancel'
local verdict = may_end(ARGV[1], ARGV[2])
if verdict == 'ok' then
  bump(ARGV[1], 'attempts', -1)
  redis.call('HSET', task_key(ARGV[1]), 'reason', ARGV[4])
  enqueue(ARGV[1], now(), tonumber(ARGV[3]))
end
return verdict
