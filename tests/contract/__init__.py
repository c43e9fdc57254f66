"""Each storage passes the suite of `storages/testing/` and additional tests."""
