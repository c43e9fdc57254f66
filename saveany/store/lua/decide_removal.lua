-- Makes a removal ready that the caller has proposed, or withdraws it. One that was called off, or proposed anew, stays.
-- Touches: removals:<storage>; publishes to control.
-- ARGV: storage, path, size, nonce of the proposer, '1' to make it ready
-- Returns 1 if the proposal was still there
local removals = P .. 'removals:' .. ARGV[1]
if redis.call('HGET', removals, ARGV[2]) ~= ARGV[3] .. ':' .. ARGV[4] then return 0 end
if ARGV[5] ~= '1' then return redis.call('HDEL', removals, ARGV[2]) end
redis.call('HSET', removals, ARGV[2], ARGV[3] .. ':ready')
redis.call('PUBLISH', P .. 'control', '')
return 1
