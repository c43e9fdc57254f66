-- Writes the outcome of an attempt, unless the delivery was settled meanwhile.
-- Touches: outbox, outbox:wake, delivery:<id>, posted, task:<task>, record, recorded, counters.
-- ARGV: id, task, delivery JSON, webhook summary JSON, delay ms until the next attempt (-1: none follows),
-- outcome for the counter
-- Returns 1 if it was written
local id = ARGV[1]
if not redis.call('ZSCORE', P .. 'outbox', id) then return 0 end
redis.call('SET', P .. 'delivery:' .. id, ARGV[3])
count('webhook_attempts:' .. ARGV[6], 1)
if tonumber(ARGV[5]) < 0 then
  redis.call('ZREM', P .. 'outbox', id)
  if ARGV[2] == '' and ARGV[6] == 'delivered' then -- no task takes it along; while it is here, it is not sent again
    redis.call('ZREM', P .. 'posted', id)
    redis.call('EXPIRE', P .. 'delivery:' .. id, 172800)
  end
else
  redis.call('ZADD', P .. 'outbox', now() + ARGV[5], id)
  wake_sender()
end
if redis.call('EXISTS', task_key(ARGV[2])) == 1 then
  redis.call('HSET', task_key(ARGV[2]), 'webhook', ARGV[4])
  if is_ended(field(ARGV[2], 'status')) then record(ARGV[2]) end
end
return 1
