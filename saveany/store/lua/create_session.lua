-- Creates a session of StreamAPI unless one has the same public id. It may run twice for the same session.
-- Touches: streamapi:sessions, streamapi:owners.
-- ARGV: public id, private id, session as JSON
-- Returns the session that has the public id now
local sessions = P .. 'streamapi:sessions'
redis.call('HSETNX', sessions, ARGV[1], ARGV[3])
local kept = redis.call('HGET', sessions, ARGV[1])
if kept == ARGV[3] then redis.call('HSET', P .. 'streamapi:owners', ARGV[2], ARGV[1]) end
return kept
