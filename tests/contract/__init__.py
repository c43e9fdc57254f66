"""The contract of `storages/base.py` as tests: `suite.py` for all, one file binds each backend."""
