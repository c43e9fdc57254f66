-- Makes tasks ready that were delayed because one of these storages was unreachable.
-- Touches: away:<storage>, delayed, task:<id>, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, turn.
-- ARGV: storages …
-- Returns the number of these tasks
local woken = 0
for _, storage in ipairs(ARGV) do
  for _, id in ipairs(redis.call('SPOP', P .. 'away:' .. storage, 200)) do
    -- It may have ended since, or been delayed for another reason.
    if field(id, 'away') == storage and field(id, 'status') == 'queued' and redis.call('ZREM', P .. 'delayed', id) == 1 then
      redis.call('HSET', task_key(id), 'wake', 0)
      make_ready(id)
      woken = woken + 1
    end
  end
end
return woken
