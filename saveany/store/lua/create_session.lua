-- Creates a session of StreamAPI unless one has the same public id.
-- Touches: streamapi:sessions, streamapi:owners.
-- ARGV: public id, private id, session as JSON
-- Returns the session that has the public id now
local sessions = P .. 'streamapi:sessions'
if redis.call('HSETNX', sessions, ARGV[1], ARGV[3]) == 1 then
    redis.call('HSET', P .. 'streamapi:owners', ARGV[2], ARGV[1])
end
return redis.call('HGET', sessions, ARGV[1])
