-- Remove ended tasks for good (history.keep_days).
-- Touches: history…, task:<id>, items:<id>, deliveries:<task>, delivery:<id>, posted, outbox.
-- ARGV: ended before (ms), limit
-- Returns how many were removed
local old = redis.call('ZRANGEBYSCORE', P .. 'history', '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(old) do
  for _, key in ipairs(history_keys(id, field(id, 'status'))) do redis.call('ZREM', key, id) end
  for _, delivery in ipairs(redis.call('SMEMBERS', P .. 'deliveries:' .. id)) do
    redis.call('ZREM', P .. 'outbox', delivery)
    redis.call('ZREM', P .. 'posted', delivery)
    redis.call('DEL', P .. 'delivery:' .. delivery)
  end
  redis.call('DEL', task_key(id), P .. 'items:' .. id, P .. 'deliveries:' .. id)
end
return #old
