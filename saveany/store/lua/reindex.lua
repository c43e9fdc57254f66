-- Adds tasks to all indexes again, from their records, after an index was lost.
-- Touches: queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, running, running:<user>, slots:<user>, leases,
-- history…, events, turn; reads task:<id>.
-- ARGV: id …
for _, id in ipairs(ARGV) do
  local t = redis.call('HMGET', task_key(id), 'status', 'user', 'created_at', 'finished_at', 'slot')
  if t[1] == 'queued' then
    displace(id)
    place(id, now())
  elseif t[1] == 'running' then
    redis.call('ZADD', P .. 'running', num(t[3]), id)
    redis.call('SADD', P .. 'running:' .. (t[2] or ''), id)
    if t[5] == '1' then redis.call('SADD', P .. 'slots:' .. (t[2] or ''), id) end
    redis.call('ZADD', P .. 'leases', 'NX', now(), id)
  elseif t[1] == 'completed' or t[1] == 'failed' or t[1] == 'canceled' then
    for _, key in ipairs(history_keys(id, t[1])) do redis.call('ZADD', key, num(t[4]), id) end
  end
end
return 0
