-- Storages work again: tasks that were put off because one of them did not can be claimed at once.
-- Touches: away:<storage>, delayed, task:<id>, ready:<user>:<lane>, lanes:<user>, users, wake:<lane>, turn.
-- ARGV: storages …
-- Returns the number of these tasks
local woken = 0
for _, storage in ipairs(ARGV) do
  for _, id in ipairs(redis.call('SPOP', P .. 'away:' .. storage, 200)) do
    -- Since then it may have ended, or been put off for another reason.
    if field(id, 'away') == storage and field(id, 'status') == 'queued' and redis.call('ZREM', P .. 'delayed', id) == 1 then
      redis.call('HSET', task_key(id), 'wake', 0)
      make_ready(id)
      woken = woken + 1
    end
  end
end
return woken
