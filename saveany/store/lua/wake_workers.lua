-- Wakes workers for all ready tasks, because more of them can run after a resume or a changed limit.
-- Touches: wake:<lane>; reads settings, users, lanes:<user>, ready:<user>:<lane>.
wake_for_all()
return 'ok'
