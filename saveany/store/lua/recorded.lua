-- Removes entries that the catalogue contains, and notes which ended tasks it contains completely.
-- Touches: record, recorded, lock:recorder; reads task:<id>.
-- ARGV: holder of the lock, lock ms, entry count, entry …, (ended task, its last entry, whether it is kept for a while) …
-- Returns 1 if the caller still has the lock, which lasts that long from now, else 0
local rest = 4 + ARGV[3]
if rest > 4 then redis.call('XDEL', P .. 'record', unpack(ARGV, 4, rest - 1)) end
for i = rest, #ARGV, 3 do
  local t = redis.call('HMGET', task_key(ARGV[i]), 'status', 'entry')
  if is_ended(t[1]) and t[2] == ARGV[i + 1] then redis.call('ZADD', P .. 'recorded', now() * ARGV[i + 2], ARGV[i]) end
end
if redis.call('GET', P .. 'lock:' .. 'recorder') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', P .. 'lock:' .. 'recorder', ARGV[2])
