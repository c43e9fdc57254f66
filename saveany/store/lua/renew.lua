-- Renews the lease of a claim, even an expired one, while the epoch is unchanged.
-- Touches: leases; reads task:<id>.
-- ARGV: id, epoch, lease ms
-- Returns 'ok' | 'fenced' | 'cancel' | 'stop' | 'pause' (the lease is renewed here as well, because stopping takes time)
local verdict = may_write(ARGV[1], ARGV[2])
if verdict ~= 'fenced' then redis.call('ZADD', P .. 'leases', now() + ARGV[3], ARGV[1]) end
return verdict
