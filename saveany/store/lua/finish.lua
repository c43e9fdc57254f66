-- Ends a running task: last items, status, history, event and webhooks in one step. After a cancel the caller gets
-- 'cancel', and must clean up and finish as canceled. A stop or a pause at this point is ignored.
-- Touches: task:<id>, items:<id>, checkpoints:<id>, running, running:<user>, slots:<user>, recordings:<user>, leases, record, recorded, publishing:<storage>, removals:<storage>, cleanup:<storage>, events, outbox,
-- delivery:<id>, deliveries:<task>, posted, wake:<lane>; reads users, lanes:<user>; publishes to control.
-- ARGV: id, epoch, status, error, error as a translatable text (JSON, '' for none), progress JSON ('' keeps it), item count, (index, item JSON) …,
-- (delivery id, task, JSON) …
-- Returns 'ok' | 'fenced' | 'cancel'
local id, status = ARGV[1], ARGV[3]
local verdict = may_end(id, ARGV[2])
if verdict == 'fenced' or (verdict == 'cancel' and status ~= 'canceled') then return verdict end
local at = now()
track_publishing(id, 7)
local rest = put_items(id, 7)
finish(id, status, ARGV[4], at, ARGV[5], ARGV[6])
add_deliveries(rest, at)
return 'ok'
