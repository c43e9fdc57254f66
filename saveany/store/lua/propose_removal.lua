-- Proposes to remove a copy. It is ready when the proposer has found that no other file needs the copy.
-- Touches: removals:<storage>, publishing:<storage>; reads items:<task>, task:<task>.
-- ARGV: storage, path, size, nonce of the proposer
-- Returns 1, or 0 if a task is about to make a file visible there
local publishing, removals = P .. 'publishing:' .. ARGV[1], P .. 'removals:' .. ARGV[1]
local task, index = string.match(redis.call('HGET', publishing, ARGV[2]) or '', '^(.*):(%d+)$')
if task then
  local storage, path, is_next = published(task, redis.call('HGET', P .. 'items:' .. task, index))
  if is_next and storage == ARGV[1] and path == ARGV[2] then return 0 end
  redis.call('HDEL', publishing, ARGV[2]) -- that task has gone
end
local known = redis.call('HGET', removals, ARGV[2])
if not known or not string.find(known, ':ready$') then redis.call('HSET', removals, ARGV[2], ARGV[3] .. ':' .. ARGV[4]) end
return 1
