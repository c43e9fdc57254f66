-- Adds ended tasks. The store's `_lib.lua` precedes this file; its `finish` ends the tasks and writes the indexes.
-- This script writes the records that accept.lua, claim.lua and plan.lua would have written.
-- ARGV: first number, count, time of the first in ms, spec JSON (its id and user are replaced), title, type,
-- lane, storage, progress JSON, number of users
local start = tonumber(ARGV[3])
for n = tonumber(ARGV[1]), ARGV[1] + ARGV[2] - 1 do
  local id, at, user = string.format('%020d', n), start + n, 1 + n % ARGV[10]
  local spec = cjson.decode(ARGV[4])
  spec.id, spec.user_id = id, user
  redis.call('HSET', task_key(id), 'spec', cjson.encode(spec), 'type', ARGV[6], 'storage', ARGV[8],
    'user', user, 'lane', ARGV[7], 'title', ARGV[5],
    'subject', cjson.encode({ template = ARGV[5] }), 'score', at, 'status', 'running', 'epoch', 1, 'attempts', 1,
    'run', 1, 'cancel', 0, 'created_at', at, 'updated_at', at, 'started_at', at, 'claimed_at', at,
    'slot', 0, 'items_total', 1, 'progress', ARGV[9])
  finish(id, n % 10 == 0 and 'failed' or 'completed', '', at)
end
