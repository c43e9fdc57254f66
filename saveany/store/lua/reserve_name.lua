-- Reserves a path for an item, on a storage that cannot reject an existing name.
-- Touches: name:<storage>:<path>; reads task:<owner>.
-- ARGV: id, item index, storage, path, lifetime in ms
-- Returns 1 if the item has the path now, 0 if another item has it.
-- Reservations of an ended task are void: its file exists, which the caller sees, or it does not.
local key = P .. 'name:' .. ARGV[3] .. ':' .. ARGV[4]
local owner, mine = redis.call('GET', key), ARGV[1] .. '-' .. ARGV[2]
if owner and owner ~= mine then
  local status = field(string.match(owner, '^(.*)%-%d+$') or '', 'status')
  if status == 'running' or status == 'queued' then return 0 end
end
redis.call('SET', key, mine, 'PX', ARGV[5])
return 1
