-- For a worker whose slots are all busy: have tasks there make room for those of users who have fewer running.
-- A user with a task that has waited for long enough gets the slot of one who has at least two more running, of the
-- task which that user's own queue would have begun last. If nobody has (there are more users than slots), users
-- take turns: who has nothing running gets the slot of the task that has had its time longest. That time doubles
-- whenever the task made room, up to 32 times the first, for those that cannot go on where they stopped.
-- A task that is to make room is answered 'pause' (may_write), and is put back into the queue by its worker.
-- Touches: task:<id>, turn, room:<user>, and as `first` ready:<user>:<lane>, lanes:<user>, users; publishes to control;
-- reads settings, running:<user>.
-- ARGV: worker, running tasks a user may have (0: no limit), ms a task waits first, ms a task may run first,
-- count of lanes, lanes the worker can run …, ids of the tasks it runs …
-- Returns the ids of the tasks that are to make room
if redis.call('ZCARD', P .. 'users') == 0 then return {} end
local at, patience, slice, rest = now(), num(ARGV[3]), num(ARGV[4]), 6 + num(ARGV[5])
local most, lanes, tasks, running = most_per_user(ARGV[2]), {}, {}, {}
for i = 6, rest - 1 do lanes[ARGV[i]] = true end
for i = rest, #ARGV do
  local t = redis.call('HMGET', task_key(ARGV[i]), 'status', 'worker', 'yield', 'user', 'score', 'claimed_at', 'yields')
  if t[1] == 'running' and t[2] == ARGV[1] then
    local user = t[4] or ''
    running[user] = running[user] or running_of(user)
    if t[3] == '1' then
      running[user] = running[user] - 1
    else
      local over = num(t[6]) + slice * 2 ^ math.min(5, num(t[7]))
      table.insert(tasks, { id = ARGV[i], user = user, score = num(t[5]), over = over })
    end
  end
end

local function begun_later(a, b) return a.score > b.score or (a.score == b.score and a.id > b.id) end

-- The place in `tasks` of the one that makes room for a user who has so many running.
local function whose_slot(mine)
  local best, most_more, last = nil, 1, nil
  for i, task in ipairs(tasks) do
    local more = running[task.user] - mine
    if more > most_more or (best and more == most_more and begun_later(task, tasks[best])) then
      best, most_more = i, more
    end
    if mine == 0 and task.over <= at and (not last or task.over < tasks[last].over) then last = i end
  end
  return best or last
end

local function has_waited(id)
  local t = redis.call('HMGET', task_key(id), 'created_at', 'wake')
  return math.max(num(t[1]), num(t[2])) + patience <= at
end

local told = {}
for _, user in ipairs(whose_slot(0) and redis.call('ZRANGE', P .. 'users', 0, -1) or {}) do
  if not whose_slot(0) then break end
  local mine, room = running_of(user), P .. 'room:' .. user
  local place = mine < most and whose_slot(mine)
  local id = place and redis.call('EXISTS', room) == 0 and head(user, lanes)
  if id and has_waited(id) then
    local task = table.remove(tasks, place)
    running[task.user] = running[task.user] - 1
    redis.call('HSET', task_key(task.id), 'yield', 1)
    bump(task.id, 'yields', 1)
    redis.call('SET', room, 1, 'PX', patience)
    redis.call('PUBLISH', P .. 'control', task.id)
    table.insert(told, task.id)
  end
end
return told
