-- Announces a process that downloads with a Telegram account, and exchanges flood waits between such processes.
-- A flood wait is only ever extended: a process that was given a shorter one must not shorten that of the others.
-- Touches: telegram:lines:<account>:<dc>, telegram:flood:<account>:<dc>.
-- ARGV: account, data center, process, ms until its announcement expires, ms left of its own flood wait
-- Returns {number of processes, ms left of the flood wait (negative: none)}
local lines, flood = P .. 'telegram:lines:' .. ARGV[1] .. ':' .. ARGV[2], P .. 'telegram:flood:' .. ARGV[1] .. ':' .. ARGV[2]
local at, expire, wait = now(), tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', lines, '-inf', at)
redis.call('ZADD', lines, at + expire, ARGV[3])
redis.call('PEXPIRE', lines, expire)
if wait > math.max(0, redis.call('PTTL', flood)) then redis.call('SET', flood, '', 'PX', wait) end
return { redis.call('ZCARD', lines), redis.call('PTTL', flood) }
