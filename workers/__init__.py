"""The worker process: claims tasks, transfers their files, and ends each task exactly once."""
