-- Stops tasks of a worker without a free slot, in favor of users who have fewer slots.
-- A user whose task has waited long enough gets a slot of a user with at least two more slots: that of the task
-- which the other user's queue would start last. If there is no such user, because there are more users than slots,
-- users take turns: one without a slot gets the slot of the task that exceeded its time slice first. The slice
-- doubles each time the task is stopped, up to 32 times, for tasks that cannot continue where they stopped.
-- A task that must make room gets 'pause' from may_write, and its worker puts it back into the queue. The slot then goes to
-- that user (`enqueue`, claim).
-- Touches: task:<id>, turn, queued, paused, delayed, room:<user>, and as `first` ready:<user>:<lane>, lanes:<user>, users; publishes to control;
-- reads settings, running:<user>, recordings:<user>, slots:<user>.
-- ARGV: worker, limit of running tasks per user (0: no limit), ms that a task must wait first, time slice in ms,
-- count of lanes, lanes whose tasks need a slot …, ids of the tasks that have a slot there …
-- Returns the ids of the tasks that must stop
if redis.call('ZCARD', P .. 'users') == 0 then return {} end
local at, min_wait, slice, rest = now(), num(ARGV[3]), num(ARGV[4]), 6 + num(ARGV[5])
local limit, lanes, tasks, slots = limit_per_user(ARGV[2]), {}, {}, {}
for i = 6, rest - 1 do lanes[ARGV[i]] = true end
for i = rest, #ARGV do
  local t = redis.call('HMGET', task_key(ARGV[i]), 'status', 'worker', 'yield_to', 'user', 'score', 'claimed_at', 'yields')
  if t[1] == 'running' and t[2] == ARGV[1] then
    local user = t[4] or ''
    slots[user] = slots[user] or slots_of(user)
    if (t[3] or '') ~= '' then
      slots[user] = slots[user] - 1
    else
      local slice_ends = num(t[6]) + slice * 2 ^ math.min(5, num(t[7]))
      table.insert(tasks, { id = ARGV[i], user = user, score = num(t[5]), slice_ends = slice_ends })
    end
  end
end

-- The index in `tasks` of the task to stop in favor of a user with `mine` slots; nil if there is none.
local function find_task_to_stop(mine)
  local best, largest, expired = nil, 1, nil
  for i, task in ipairs(tasks) do
    local difference = slots[task.user] - mine
    if difference > largest or (best and difference == largest and starts_later(task, tasks[best])) then
      best, largest = i, difference
    end
    if mine == 0 and task.slice_ends <= at and (not expired or task.slice_ends < tasks[expired].slice_ends) then expired = i end
  end
  return best or expired
end

local function has_waited(id)
  local t = redis.call('HMGET', task_key(id), 'created_at', 'wake')
  return math.max(num(t[1]), num(t[2])) + min_wait <= at
end

local stopped = {}
for _, user in ipairs(find_task_to_stop(0) and redis.call('ZRANGE', P .. 'users', 0, -1) or {}) do
  if not find_task_to_stop(0) then break end
  local mine, room = slots_of(user), P .. 'room:' .. user
  local index = running_of(user) < limit and find_task_to_stop(mine)
  local id = index and redis.call('EXISTS', room) == 0 and head(user, lanes)
  if id and has_waited(id) then
    local task = table.remove(tasks, index)
    slots[task.user] = slots[task.user] - 1
    redis.call('HSET', task_key(task.id), 'yield_to', user)
    bump(task.id, 'yields', 1)
    redis.call('SET', room, 1, 'PX', min_wait)
    redis.call('PUBLISH', P .. 'control', task.id)
    table.insert(stopped, task.id)
  end
end
return stopped
