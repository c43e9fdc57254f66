-- Adds webhook deliveries; those that exist stay unchanged.
-- Touches: outbox, outbox:wake, delivery:<id>, deliveries:<task>, posted.
-- ARGV: (delivery id, task, JSON) …
add_deliveries(1, now())
return 1
