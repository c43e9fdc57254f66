-- Changes a field of a hash if it still is what it was, or still is not there; under a name only once.
-- Touches: the hash, the name.
-- ARGV: hash, field, value it had ('' for none), new value[, name of the change, how long it is known in ms]
-- Returns 1, 0 if another was faster, 2 if it was done before
if ARGV[5] and redis.call('EXISTS', ARGV[5]) == 1 then return 2 end
if (redis.call('HGET', ARGV[1], ARGV[2]) or '') ~= ARGV[3] then return 0 end
redis.call('HSET', ARGV[1], ARGV[2], ARGV[4])
if ARGV[5] then redis.call('SET', ARGV[5], 1, 'PX', ARGV[6]) end
return 1
