-- Records that the worker of a task knows that it is to be stopped. Its writes succeed again, so that it can save what it has.
-- Touches: task:<id>.
-- ARGV: id, epoch
-- Returns 'ok' | 'fenced' | 'cancel' | 'pause'
local verdict = may_write(ARGV[1], ARGV[2])
if verdict ~= 'stop' then return verdict end
redis.call('HSET', task_key(ARGV[1]), 'stop', 2)
return 'ok'
