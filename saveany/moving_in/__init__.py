"""Moving in from other programs: reads what they leave behind, plans what becomes of it here, and applies it.

`recognise` tells by its content what a file is, and has the reader of that format read it. Readers only read:
they change nothing, ask nobody, and check every length and number, because the files may be damaged or
hostile. `plan` compares what was found with this installation. `apply` carries the plan out.
"""
