-- Acquires or renews the lock of the bot.
-- Touches: bot:lock.
-- ARGV: holder, ms
-- Returns 1, or 0 if another process has it
local key = P .. 'bot:lock'
if redis.call('GET', key) == ARGV[1] then return redis.call('PEXPIRE', key, ARGV[2]) end
return redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
