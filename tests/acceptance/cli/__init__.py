"""The commands as people run them: processes, on terminals and in pipes."""
