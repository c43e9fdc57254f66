-- Accepts a task: record, indexes, idempotency key and first event in one step. The API replies 201 after it.
-- Touches: task:<id>, queued, paused, delayed, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, idem:<key>,
-- inbox:<hash>, events, turn.
-- ARGV: id, spec JSON, type, storage, user, lane, title, priority, idempotency key ('' for none), body hash, ttl ms,
-- subject JSON, and for a file of a watched folder: hash of the folder, file, version
-- Returns {'accepted', id, created_at} | {'replayed', id of the first task} | {'reused'}
local id, idem = ARGV[1], P .. 'idem:' .. ARGV[9]
-- The connection broke before the reply to the first call, and redis-py repeats the call.
if redis.call('EXISTS', task_key(id)) == 1 then return { 'accepted', id, num(field(id, 'created_at')) } end
if ARGV[13] then redis.call('HSET', P .. 'inbox:' .. ARGV[13], ARGV[14], ARGV[15]) end
if ARGV[9] ~= '' then
  local known = redis.call('HMGET', idem, 'hash', 'task')
  if known[1] then
    if known[1] ~= ARGV[10] then return { 'reused' } end
    return { 'replayed', known[2] or '' }
  end
  redis.call('HSET', idem, 'hash', ARGV[10], 'task', id)
  redis.call('PEXPIRE', idem, ARGV[11])
end
local at = now()
redis.call('HSET', task_key(id), 'spec', ARGV[2], 'type', ARGV[3], 'storage', ARGV[4], 'user', ARGV[5],
  'lane', ARGV[6], 'title', ARGV[7], 'subject', ARGV[12],
  'score', at - tonumber(ARGV[8]) * 1e13, 'status', 'queued', 'epoch', 0, 'run', 1, 'cancel', 0, 'created_at', at, 'updated_at', at)
place(id, at)
return { 'accepted', id, at }
