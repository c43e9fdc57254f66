-- Schedules a delivery for now. Its number of attempts continues.
-- Touches: delivery:<id>, outbox, outbox:wake, task:<task>, record, recorded.
-- ARGV: id, task, delivery JSON as it was read, delivery JSON to write, webhook summary JSON
-- Returns 1 if it was written, 0 if the delivery has changed since it was read
local id = ARGV[1]
if redis.call('GET', P .. 'delivery:' .. id) ~= ARGV[3] then return 0 end
redis.call('SET', P .. 'delivery:' .. id, ARGV[4])
redis.call('ZADD', P .. 'outbox', now(), id)
wake_sender()
if redis.call('EXISTS', task_key(ARGV[2])) == 1 then
  redis.call('HSET', task_key(ARGV[2]), 'webhook', ARGV[5])
  if is_ended(field(ARGV[2], 'status')) then record(ARGV[2]) end
end
return 1
