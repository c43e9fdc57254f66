"""The commands as users run them: as processes, on terminals and in pipes."""
