-- Changes a field of a hash if it still has the expected value. A named change is made only once.
-- Touches: the hash, the key of the named change.
-- ARGV: hash, field, expected value ('' for none), new value[, key of the named change, its lifetime in ms]
-- Returns 1, 0 if the field has another value, 2 if the named change was made before
if ARGV[5] and redis.call('EXISTS', ARGV[5]) == 1 then return 2 end
if (redis.call('HGET', ARGV[1], ARGV[2]) or '') ~= ARGV[3] then return 0 end
redis.call('HSET', ARGV[1], ARGV[2], ARGV[4])
if ARGV[5] then redis.call('SET', ARGV[5], 1, 'PX', ARGV[6]) end
return 1
