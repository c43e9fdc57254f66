-- Wake workers for all ready tasks: more of them may run than before, as the queue was resumed or a limit was changed.
-- Touches: wake:<lane>; reads settings, users, lanes:<user>, ready:<user>:<lane>.
wake_for_all()
return 'ok'
