-- Adds to a number, which is forgotten some time after it was first added to. A damaged number starts again at 0.
-- Touches: tries:<token>:<address>, links:<user>, traffic:<month>.
-- ARGV: key, amount, ms for which the number is kept
-- Returns {the number, ms until it is forgotten}
local key = ARGV[1]
local value = num(redis.call('GET', key)) + tonumber(ARGV[2])
redis.call('SET', key, string.format('%d', value), 'KEEPTTL')
if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[3]) end
return {value, redis.call('PTTL', key)}
