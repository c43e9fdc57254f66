-- Deletes ended tasks and their webhooks. What the catalogue knows of them is left to the caller.
-- Touches: recorded, task:<id>, items:<id>, deliveries:<task>, delivery:<id>, posted, outbox; reads cleanup:<storage>.
-- ARGV: id …
-- Returns for each 'ok' | 'live' (it has not ended) | 'cleaning' (a worker must remove its leftovers first) | 'unknown'
local results = {}
for i, id in ipairs(ARGV) do
  local status = field(id, 'status')
  if status == 'queued' or status == 'running' then
    results[i] = 'live'
  elseif has_leftovers(id, status) then
    results[i] = 'cleaning'
  else
    results[i] = redis.call('EXISTS', task_key(id)) == 1 and 'ok' or 'unknown'
    for _, delivery in ipairs(redis.call('SMEMBERS', P .. 'deliveries:' .. id)) do delete_delivery(id, delivery) end
    delete_task(id)
  end
end
return results
