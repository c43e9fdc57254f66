-- Lets an item fetch a document, unless another item of the same user fetches it now.
-- Touches: fetching:<user>:<document>, task:<id> and items:<id> of the other item's task.
-- ARGV: user, document, task id, item index, milliseconds after which others no longer wait
-- Returns 1 if the item may, else 0
local key, own = P .. 'fetching:' .. ARGV[1] .. ':' .. ARGV[2], ARGV[3] .. '-' .. ARGV[4]
local id, index = string.match(redis.call('GET', key) or own, '^(.*)%-(%d+)$')
if id and id ~= ARGV[3] and field(id, 'status') == 'running' then
  local item = redis.call('HGET', P .. 'items:' .. id, index) or ''
  local status = string.match(item, '"status":"(%a+)"')
  if status ~= 'completed' and status ~= 'skipped' and status ~= 'failed' then return 0 end
end
redis.call('SET', key, own, 'PX', ARGV[5])
return 1
