-- Counts the workers that share each speed limit.
-- Reads settings, running, task:<id>.
-- ARGV: worker
-- Returns {settings hash, workers with running tasks, {user with tasks on this worker, workers with tasks of that user …}}
local workers, mine, by_user, total = {}, {}, {}, 0
for _, id in ipairs(redis.call('ZRANGE', P .. 'running', 0, -1)) do
  local t = redis.call('HMGET', task_key(id), 'worker', 'user')
  local worker, user = t[1], t[2]
  if worker and user then
    if not workers[worker] then
      workers[worker] = true
      total = total + 1
    end
    by_user[user] = by_user[user] or {}
    by_user[user][worker] = true
    if worker == ARGV[1] then mine[user] = true end
  end
end
local users = {}
for user in pairs(mine) do
  local several = 0
  for _ in pairs(by_user[user]) do several = several + 1 end
  table.insert(users, user)
  table.insert(users, tostring(several))
end
return { redis.call('HGETALL', P .. 'settings'), total, users }
