-- Counts an opening of a link by an address, unless the address has it open already: all connections of a download manager,
-- and all jumps of a player, are one opening.
-- Touches: opened:<token>:<address>, openings:<address>; reads links.
-- A new opening of a link with a maximum of downloads is pending until its download is counted (`Openings.confirm`).
-- ARGV: token, address, ms for which it stays open after its last use, ms of the window, openings per window (0: no limit),
--   ms for which it is pending (0: it is not)
-- Returns {'open' | 'pending' | 'new' | 'wait', remaining openings, ms until one more is free, number of changes of links}
local opened, list = P .. 'opened:' .. ARGV[1] .. ':' .. ARGV[2], P .. 'openings:' .. ARGV[2]
local at, window, max = now(), tonumber(ARGV[4]), tonumber(ARGV[5])
local changes = num(redis.call('GET', P .. 'links') or '0')
redis.call('ZREMRANGEBYSCORE', list, '-inf', at - window)
local used = redis.call('ZCARD', list)
local oldest = redis.call('ZRANGE', list, 0, 0, 'WITHSCORES')
local reset = oldest[2] and num(oldest[2]) + window - at or 0
local left = math.max(0, max - used)
local is_text = redis.call('TYPE', opened)['ok'] == 'string' -- a damaged key counts as open
if is_text and redis.call('GET', opened) == 'pending' then return {'pending', left, reset, changes} end
if redis.call('PEXPIRE', opened, ARGV[3]) == 1 then return {'open', left, reset, changes} end
if max > 0 and used >= max then return {'wait', 0, reset, changes} end
redis.call('ZADD', list, at, ARGV[1])
redis.call('PEXPIRE', list, window)
if ARGV[6] == '0' then
    redis.call('SET', opened, 1, 'PX', ARGV[3])
else
    redis.call('SET', opened, 'pending', 'PX', ARGV[6])
end
return {'new', math.max(0, left - 1), reset > 0 and reset or window, changes}
