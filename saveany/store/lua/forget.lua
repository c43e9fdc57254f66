-- Remove ended tasks for good, oldest first, but for those whose remains a worker must remove before.
-- Touches: history…, task:<id>, items:<id>, deliveries:<task>, delivery:<id>, posted, outbox; reads cleanup:<storage>.
-- ARGV: ended before (ms), limit, how many of the oldest are passed over
-- Returns {how many were removed, how many were kept}
local removed, kept = 0, 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'history', '-inf', '(' .. ARGV[1], 'LIMIT', ARGV[3], ARGV[2])) do
  local status = field(id, 'status')
  if is_cleaned_up(id, status) then
    kept = kept + 1
  else
    erase(id, status)
    removed = removed + 1
  end
end
return { removed, kept }
