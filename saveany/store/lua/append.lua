-- Adds items to a planned task, after those that it has. It may run twice for the same items.
-- Touches: task:<id>, items:<id>, events, outbox, outbox:wake, delivery:<id>, deliveries:<task>, posted.
-- ARGV: id, epoch, progress JSON, item count, (index, item JSON) …, (delivery id, task, JSON) …
-- Returns 'ok' | 'fenced' | 'cancel' | 'stop' | 'pause' | 'gap' (nothing was written: the items do not continue those before)
local id = ARGV[1]
local verdict = may_write(id, ARGV[2])
if verdict ~= 'ok' then return verdict end
local items, before = P .. 'items:' .. id, redis.call('HLEN', P .. 'items:' .. id)
if redis.call('HEXISTS', task_key(id), 'items_total') == 0 then return 'gap' end
for i = 5, 4 + 2 * ARGV[4], 2 do
  local index = tonumber(ARGV[i])
  if index > before then return 'gap' end
  -- The same item again is a repeated call; another one would replace what was recorded.
  if index < before and redis.call('HGET', items, ARGV[i]) ~= ARGV[i + 1] then return 'gap' end
  if index == before then before = before + 1 end
end
local at = now()
local rest = put_items(id, 4)
redis.call('HSET', task_key(id), 'progress', ARGV[3], 'items_total', redis.call('HLEN', items), 'updated_at', at)
emit('task.updated', id, at)
add_deliveries(rest, at)
return verdict
