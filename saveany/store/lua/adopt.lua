-- Has the recorder copy ended tasks of a version without a catalogue, which kept them in `history`.
-- Touches: history, record, recorded, task:<id>.
-- ARGV: limit
-- Returns the number of tasks
local ids = redis.call('ZPOPMIN', P .. 'history', ARGV[1])
for i = 1, #ids, 2 do
  if is_ended(field(ids[i], 'status')) then record(ids[i]) end
end
return #ids / 2
