-- Claims due deliveries for the length of a lease. If the sender dies, they are due again when it ends.
-- Touches: outbox; reads delivery:<id>.
-- ARGV: limit, lease ms
-- Returns id and JSON of each
local at, out = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'outbox', '-inf', at, 'LIMIT', 0, ARGV[1])) do
  local json = redis.call('GET', P .. 'delivery:' .. id)
  if json then
    redis.call('ZADD', P .. 'outbox', at + ARGV[2], id)
    table.insert(out, id)
    table.insert(out, json)
  else
    redis.call('ZREM', P .. 'outbox', id)
  end
end
return out
