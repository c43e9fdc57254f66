-- Removes the final path from an item of a canceled task before a clean-up deletes the file, so that the record never
-- names a file of another task. Only one clean-up succeeds, and none after a retry.
-- Touches: items:<id>, task:<id>, record, recorded.
-- ARGV: id, epoch the task was canceled at, item index, item JSON as it was read, item JSON to write
-- Returns 1 if it was written
local id, items = ARGV[1], P .. 'items:' .. ARGV[1]
local t = redis.call('HMGET', task_key(id), 'status', 'epoch')
if t[1] ~= 'canceled' or t[2] ~= ARGV[2] or redis.call('HGET', items, ARGV[3]) ~= ARGV[4] then return 0 end
redis.call('HSET', items, ARGV[3], ARGV[5])
record(id)
return 1
