"""What arq runs: claim a task, transfer its files, finish it exactly once."""
