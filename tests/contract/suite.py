"""The storage contract, and that the files of a storage are delivered over HTTP."""

from __future__ import annotations

from storages.testing import StorageSuite as Contract
from tests.contract.delivery import DeliveryTests


class StorageSuite(Contract, DeliveryTests):
    """The tests that every storage of SaveAny must pass."""
