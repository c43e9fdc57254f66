-- Accepts the id of a signed request if it is greater than all earlier ones of its key.
-- Touches: streamapi:requests.
-- Ids are compared as texts: numbers of Lua are exact only up to 2^53.
-- ARGV: key, id in at most 19 decimal digits, without zeros in front
-- Returns 1, or 0 if it was refused
local requests, id = P .. 'streamapi:requests', ARGV[2]
local last = redis.call('HGET', requests, ARGV[1]) or ''
if #last > 19 or not string.match(last, '^%d+$') then last = '' end -- none, or damaged
if #id < #last or (#id == #last and id <= last) then return 0 end
redis.call('HSET', requests, ARGV[1], id)
return 1
