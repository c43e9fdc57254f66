-- Records which bytes of items are durable, so that the next claim continues from them.
-- Touches: checkpoints:<id>; reads task:<id>.
-- ARGV: id, epoch, (item index, checkpoint JSON) …
-- Returns 'ok' | 'fenced' | 'cancel'
local verdict = may_end(ARGV[1], ARGV[2])
if verdict == 'ok' then
  for i = 3, #ARGV, 2 do redis.call('HSET', P .. 'checkpoints:' .. ARGV[1], ARGV[i], ARGV[i + 1]) end
end
return verdict
