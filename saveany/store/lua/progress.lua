-- Records and publishes the progress of a task, without an event id: a client that misses it gets the next one.
-- Touches: task:<id>; publishes to progress.
-- ARGV: id, epoch, stage, progress JSON
-- Returns 'ok' | 'fenced' | 'cancel' | 'stop' | 'pause'
local id = ARGV[1]
local verdict = may_write(id, ARGV[2])
if verdict ~= 'ok' then return verdict end
redis.call('HSET', task_key(id), 'stage', ARGV[3], 'progress', ARGV[4], 'updated_at', now())
redis.call('PUBLISH', P .. 'progress', id .. ' ' .. field(id, 'user') .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
return verdict
