-- Deletes an ended task.
-- Touches: history…, task:<id>, items:<id>, deliveries:<task>, delivery:<id>, posted, outbox; reads cleanup:<storage>.
-- ARGV: id
-- Returns 'ok' | 'live' (it has not ended) | 'cleaning' (a worker must remove its leftovers first) | 'unknown'
local id = ARGV[1]
local status = field(id, 'status')
if status == '' then return 'unknown' end
if status == 'queued' or status == 'running' then return 'live' end
if has_leftovers(id, status) then return 'cleaning' end
erase(id, status)
return 'ok'
