-- Records the items of a task. A task is planned once; a later claim continues with its items.
-- Touches: task:<id>, items:<id>, events, outbox, outbox:wake, delivery:<id>, deliveries:<task>, posted.
-- ARGV: id, epoch, title, subject JSON, progress JSON, item count, (index, item JSON) …, (delivery id, task, JSON) …
-- Returns 'ok' | 'fenced' | 'cancel' | 'stop' | 'pause'
local id = ARGV[1]
local verdict = may_write(id, ARGV[2])
if verdict ~= 'ok' then return verdict end
local at = now()
local rest = put_items(id, 6)
redis.call('HSET', task_key(id), 'title', ARGV[3], 'subject', ARGV[4], 'progress', ARGV[5], 'items_total',
  redis.call('HLEN', P .. 'items:' .. id), 'updated_at', at)
emit('task.updated', id, at)
add_deliveries(rest, at)
return verdict
