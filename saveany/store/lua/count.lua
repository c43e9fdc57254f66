-- Adds to counters.
-- Touches: counters.
-- ARGV: (name, amount) …
for i = 1, #ARGV, 2 do count(ARGV[i], ARGV[i + 1]) end
return 0
