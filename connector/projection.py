"""Merchants, codes, acquirers and leases as this connector has followed them from blocks itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, TypeVar

from clearline import records
from clearline.fabric.blocks import Write
from clearline.logs import get_logger
from clearline.records import Acquirer, Kind, Lease, Merchant, MerchantCode

_log = get_logger("connector.projection")
_Followed = Acquirer | Merchant | MerchantCode | Lease
_READERS: Final[dict[str, Callable[[bytes], _Followed]]] = {
    Kind.ACQUIRER: partial(records.load, Acquirer),
    Kind.MERCHANT: partial(records.load, Merchant),
    Kind.MERCHANT_CODE: partial(records.load, MerchantCode),
    Kind.LEASE: partial(records.load, Lease),
}
_Kind = TypeVar("_Kind", Acquirer, Merchant, MerchantCode, Lease)


class Projection:
    """The newest VALID record of each followed key."""

    def __init__(self) -> None:
        self._records: dict[str, _Followed] = {}

    def load(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Take up what was stored. Raises ValueError for what is no record."""
        for key, value in items:
            self._records[key] = _READERS[key.partition("/")[0]](value)

    def apply(self, write: Write) -> bool:
        """Take a write of a VALID transaction; whether it is one that is followed.

        A record that can't be read is left out, and with it whatever depends on it is refused.
        """
        read = _READERS.get(write.key.partition("/")[0])
        if read is None:
            return False
        if write.is_delete:
            self._records.pop(write.key, None)
            return True
        try:
            self._records[write.key] = read(write.value)
        except ValueError as error:
            self._records.pop(write.key, None)
            _log.error("a record can't be read", extra={"key": write.key, "reason": str(error)})
            return False
        return True

    def acquirer(self, acquirer_id: str) -> Acquirer | None:
        """The acquirer's record."""
        return self._get(records.record_key(Kind.ACQUIRER, acquirer_id), Acquirer)

    def merchant(self, merchant_id: str) -> Merchant | None:
        """The merchant's record."""
        return self._get(records.record_key(Kind.MERCHANT, merchant_id), Merchant)

    def merchant_code(self, acquirer_id: str, code: str) -> MerchantCode | None:
        """Whose code it is."""
        return self._get(records.merchant_code_key(acquirer_id, code), MerchantCode)

    def lease(self, acquirer_id: str) -> Lease | None:
        """Which connector of the acquirer acts."""
        return self._get(records.record_key(Kind.LEASE, acquirer_id), Lease)

    def _get(self, key: str, kind: type[_Kind]) -> _Kind | None:
        record = self._records.get(key)
        return record if isinstance(record, kind) else None
