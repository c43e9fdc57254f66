-- Adds tasks to all indexes again, from their records, after an index was lost.
-- Touches: queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, running, running:<user>, slots:<user>, recordings:<user>, leases,
-- record, recorded, events, turn; writes task:<id>; reads items:<id>.
-- ARGV: id …
for _, id in ipairs(ARGV) do
  local t = redis.call('HMGET', task_key(id), 'status', 'user', 'created_at', 'slot')
  if t[1] == 'queued' then
    displace(id)
    place(id, now())
  elseif t[1] == 'running' then
    redis.call('ZADD', P .. 'running', num(t[3]), id)
    redis.call('SADD', P .. 'running:' .. (t[2] or ''), id)
    if SETS_OF_SLOTS[t[4]] then redis.call('SADD', P .. SETS_OF_SLOTS[t[4]] .. (t[2] or ''), id) end
    redis.call('ZADD', P .. 'leases', 'NX', now(), id)
  end
  if is_ended(t[1]) or redis.call('EXISTS', P .. 'items:' .. id) == 1 then record(id) end
end
return 0
