-- Ends the work of a worker on a removal.
-- Touches: removals:<storage>, removing:<storage>:<path>, removed.
-- ARGV: storage, path, size, '1' if the copy is gone, storage and path as JSON
redis.call('DEL', P .. 'removing:' .. ARGV[1] .. ':' .. ARGV[2])
if ARGV[4] ~= '1' then return 0 end
local removals = P .. 'removals:' .. ARGV[1]
if redis.call('HGET', removals, ARGV[2]) == ARGV[3] .. ':ready' then redis.call('HDEL', removals, ARGV[2]) end
redis.call('SADD', P .. 'removed', ARGV[5])
return 1
