-- Ends the reservation of a path by an item (reserve_name.lua), if the item still has it.
-- Touches: name:<storage>:<path>.
-- ARGV: id, item index, storage, path
local key = P .. 'name:' .. ARGV[3] .. ':' .. ARGV[4]
if redis.call('GET', key) == ARGV[1] .. '-' .. ARGV[2] then return redis.call('DEL', key) end
return 0
