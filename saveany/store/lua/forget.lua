-- Deletes ended tasks, oldest first, except those whose leftovers a worker must remove first.
-- Touches: history…, task:<id>, items:<id>, deliveries:<task>, delivery:<id>, posted, outbox; reads cleanup:<storage>.
-- ARGV: ended before (ms), limit, number of the oldest tasks to skip
-- Returns {number of removed tasks, number of kept tasks}
local removed, kept = 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'history', '-inf', '(' .. ARGV[1], 'LIMIT', ARGV[3], ARGV[2])) do
  local status = field(id, 'status')
  if has_leftovers(id, status) then
    kept = kept + 1
  else
    erase(id, status)
    removed = removed + 1
  end
end
return { removed, kept }
