-- Writes items of a task, and the webhooks about them.
-- Touches: items:<id>, task:<id>, publishing:<storage>, removals:<storage>, record, recorded, outbox, outbox:wake, delivery:<id>, deliveries:<task>, posted;
-- reads removing:<storage>:<path>.
-- ARGV: id, epoch, '1' to write even if the task was canceled, stopped or paused, item count, (index, item JSON) …, (delivery id, task, JSON) …
-- Returns 'ok' | 'fenced' | 'cancel' | 'stop' | 'pause' | 'removing' (nothing was written: a worker removes a copy at the final path)
local id = ARGV[1]
local verdict = may_write(id, ARGV[2])
if verdict ~= 'fenced' and ARGV[3] == '1' then verdict = 'ok' end
if verdict ~= 'ok' then return verdict end
if is_removing(id, 4) then return 'removing' end
local at = now()
-- The recorder needs to know of files that are saved, and of those that are no longer.
local function is_saved(json) return json and string.find(json, '"status":"completed"', 1, true) end
local saved = {}
for i = 5, 4 + 2 * ARGV[4], 2 do
  if is_saved(ARGV[i + 1]) or is_saved(item_before(id, ARGV[i])) then table.insert(saved, ARGV[i]) end
end
track_publishing(id, 4)
local rest = put_items(id, 4)
redis.call('HSET', task_key(id), 'updated_at', at)
add_deliveries(rest, at)
if #saved > 0 then record(id, table.concat(saved, ',')) end
return verdict
