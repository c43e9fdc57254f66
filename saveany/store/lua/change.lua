-- Changes a field of a hash if it still is what it was, or still is not there.
-- Touches: the hash.
-- ARGV: hash, field, value it had ('' for none), new value
-- Returns 1, or 0 if another was faster
if (redis.call('HGET', ARGV[1], ARGV[2]) or '') ~= ARGV[3] then return 0 end
redis.call('HSET', ARGV[1], ARGV[2], ARGV[4])
return 1
