-- Stores a secret that all machines share, unless one is stored already.
-- Touches: meta.
-- ARGV: name, new secret, damaged secret to replace ('' for none)
-- Returns the stored secret
local kept = redis.call('HGET', P .. 'meta', ARGV[1])
if kept and (ARGV[3] == '' or kept ~= ARGV[3]) then return kept end
redis.call('HSET', P .. 'meta', ARGV[1], ARGV[2])
return ARGV[2]
