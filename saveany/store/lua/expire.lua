-- Deletes ended tasks that the catalogue contains: those that were recorded long ago, and the oldest if there are too many.
-- Tasks with leftovers or unsent webhooks wait; webhooks that were given up stay, so that they can be sent again.
-- Touches: recorded, task:<id>, items:<id>, deliveries:<task>, delivery:<id>, posted; reads outbox, cleanup:<storage>.
-- ARGV: age ms, maximum number of tasks to keep, limit
-- Returns the number of tasks looked at
local at, key = now(), P .. 'recorded'
local excess = math.min(redis.call('ZCARD', key) - ARGV[2], tonumber(ARGV[3]))
local ids = redis.call('ZRANGEBYSCORE', key, '-inf', at - ARGV[1], 'LIMIT', 0, ARGV[3])
if excess > #ids then ids = redis.call('ZRANGE', key, 0, excess - 1) end
for _, id in ipairs(ids) do
  local done, unsent = {}, false
  for _, delivery in ipairs(redis.call('SMEMBERS', P .. 'deliveries:' .. id)) do
    if redis.call('ZSCORE', P .. 'outbox', delivery) then
      unsent = true
    elseif string.find(redis.call('GET', P .. 'delivery:' .. delivery) or '', '"state":"delivered"', 1, true) then
      table.insert(done, delivery)
    end
  end
  if unsent or has_leftovers(id, field(id, 'status')) then
    redis.call('ZADD', key, at, id)
  else
    for _, delivery in ipairs(done) do delete_delivery(id, delivery) end
    delete_task(id)
  end
end
return #ids
