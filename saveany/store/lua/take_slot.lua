-- Records that a running task has a slot of its worker. From now on it is claimed only together with one.
-- Touches: task:<id>, slots:<user>.
-- ARGV: id, epoch, its lane from now on
-- Returns 'ok' | 'fenced' | 'cancel' | 'stop' | 'pause'
local verdict = may_write(ARGV[1], ARGV[2])
if verdict == 'ok' then
  redis.call('HSET', task_key(ARGV[1]), 'slot', 1, 'lane', ARGV[3])
  redis.call('SADD', P .. 'slots:' .. field(ARGV[1], 'user'), ARGV[1])
end
return verdict
