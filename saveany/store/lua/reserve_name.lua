-- Lets one item of one task have a path of a storage that cannot refuse a taken name by itself.
-- KEYS: name:<storage>:<path>, task:<owner>
-- ARGV: id, item index, storage, path, how long at most (ms)
-- Returns 1 if it is the item's now (again), 0 if another has it.
-- What a task that has ended holds is free: either its file is there, which the caller sees, or it is not.
local key = P .. 'name:' .. ARGV[3] .. ':' .. ARGV[4]
local owner, mine = redis.call('GET', key), ARGV[1] .. '-' .. ARGV[2]
if owner and owner ~= mine then
  local status = field(string.match(owner, '^(.*)%-%d+$') or '', 'status')
  if status == 'running' or status == 'queued' then return 0 end
end
redis.call('SET', key, mine, 'PX', ARGV[5])
return 1
