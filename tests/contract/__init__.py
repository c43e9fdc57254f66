"""Each storage passes the suite of `storages/testing/`, and tests of its own."""
