-- Keep a secret that all machines share, if there is none yet or only a damaged one.
-- Touches: meta.
-- ARGV: name, fresh secret, what was found there and is damaged ('' if nothing was)
-- Returns the secret that counts
local kept = redis.call('HGET', P .. 'meta', ARGV[1])
if kept and (ARGV[3] == '' or kept ~= ARGV[3]) then return kept end
redis.call('HSET', P .. 'meta', ARGV[1], ARGV[2])
return ARGV[2]
