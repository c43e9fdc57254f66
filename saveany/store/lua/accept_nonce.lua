-- Accepts the nonce of a signed request once, if it is neither too early nor too late for it.
-- Touches: nonce:<hash>.
-- ARGV: hash of key and nonce, id of this attempt, first and last ms of the time in which it is accepted
-- Returns 1 if it was accepted, else 0; and the present time
local key, attempt, first, last = P .. 'nonce:' .. ARGV[1], ARGV[2], num(ARGV[3]), num(ARGV[4])
local at = now()
if at < first or at > last then return {0, at} end
if redis.call('SET', key, attempt, 'NX', 'PX', string.format('%d', last - at + 1)) then return {1, at} end
-- The same attempt again, after a broken connection.
return {redis.call('GET', key) == attempt and 1 or 0, at}
