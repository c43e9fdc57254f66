"""All tests of the contract in one class."""

from __future__ import annotations

from storages.testing.commits import CommitTests
from storages.testing.contents import ContentTests
from storages.testing.folders import FolderTests
from storages.testing.paths import PathTests
from storages.testing.resume import ResumeTests
from storages.testing.takeover import TakeoverTests


class StorageSuite(ContentTests, CommitTests, TakeoverTests, ResumeTests, PathTests, FolderTests):
    """The tests that every storage must pass."""
