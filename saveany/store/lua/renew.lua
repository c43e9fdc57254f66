-- Renew the lease of a claim. Works while the epoch is unchanged, even after the lease ran out.
-- Touches: leases; reads task:<id>.
-- ARGV: id, epoch, lease ms
-- Returns 'ok' | 'fenced' | 'cancel' | 'pause' (the lease is renewed in these two, too: stopping takes time)
local verdict = may_write(ARGV[1], ARGV[2])
if verdict ~= 'fenced' then redis.call('ZADD', P .. 'leases', now() + ARGV[3], ARGV[1]) end
return verdict
