-- Expires the leases of a worker that is known to be dead, because its parent saw it exit.
-- Touches: leases; reads task:<id>.
-- ARGV: worker
-- Returns the number of expired leases
local count = 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
  if field(id, 'worker') == ARGV[1] then
    redis.call('ZADD', P .. 'leases', 0, id)
    count = count + 1
  end
end
return count
