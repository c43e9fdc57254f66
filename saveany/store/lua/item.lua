-- Writes items of a task, and the webhooks about them.
-- Touches: items:<id>, task:<id>, outbox, outbox:wake, delivery:<id>, deliveries:<task>, posted.
-- ARGV: id, epoch, '1' to write even if the task was canceled or paused, item count, (index, item JSON) …, (delivery id, task, JSON) …
-- Returns 'ok' | 'fenced' | 'cancel' | 'pause'
local id = ARGV[1]
local verdict = may_write(id, ARGV[2])
if (verdict == 'cancel' or verdict == 'pause') and ARGV[3] == '1' then verdict = 'ok' end
if verdict ~= 'ok' then return verdict end
local at = now()
local rest = put_items(id, 4)
redis.call('HSET', task_key(id), 'updated_at', at)
add_deliveries(rest, at)
return verdict
