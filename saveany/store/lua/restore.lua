-- Writes an ended task back from the catalogue, unless it is here.
-- Touches: task:<id>, items:<id>, recorded.
-- ARGV: id, field count, (field, value) …, (item index, JSON) …
-- Returns 1 if it was written, else 0
local id = ARGV[1]
if redis.call('EXISTS', task_key(id)) == 1 then return 0 end
local rest = 3 + 2 * ARGV[2]
for i = 3, rest - 1, 2 do redis.call('HSET', task_key(id), ARGV[i], ARGV[i + 1]) end
for i = rest, #ARGV, 2 do redis.call('HSET', P .. 'items:' .. id, ARGV[i], ARGV[i + 1]) end
redis.call('ZADD', P .. 'recorded', now(), id)
return 1
