-- Gives back a path that an item had reserved (reserve.lua), if it still has it.
-- KEYS: name:<storage>:<path>
-- ARGV: id, item index, storage, path
local key = P .. 'name:' .. ARGV[3] .. ':' .. ARGV[4]
if redis.call('GET', key) == ARGV[1] .. '-' .. ARGV[2] then return redis.call('DEL', key) end
return 0
