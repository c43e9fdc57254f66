-- Lets one worker remove a copy. Until it ends, or the lock expires, no task makes a file visible at that path.
-- Touches: removing:<storage>:<path>; reads removals:<storage>.
-- ARGV: storage, path, size, lifetime of the lock in ms
-- Returns 1 if the caller may remove it
if redis.call('HGET', P .. 'removals:' .. ARGV[1], ARGV[2]) ~= ARGV[3] .. ':ready' then return 0 end
return redis.call('SET', P .. 'removing:' .. ARGV[1] .. ':' .. ARGV[2], 1, 'NX', 'PX', ARGV[4]) and 1 or 0
