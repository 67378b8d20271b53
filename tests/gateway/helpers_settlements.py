"""A settlement of the sample merchant's, as the ledger holds it."""

from __future__ import annotations

from helpers_gateway import CODE, MERCHANT

from clearline.clearing import Place
from clearline.clearing_records import AcquirerFile, Settlement

PLACE = Place("unionpay", CODE, "CNY", "2026-11-23")
SETTLEMENT = Settlement(
    *(PLACE[0], MERCHANT, *PLACE[1:], 1, "stated", "f" * 64, "a" * 64),
    lines=1, payments=5, refunds=0, fees=0, adjustments=0, carried=0, net=5, parts=1,
    header_digest="0" * 64, msp_id="BankTwo", maker="m",
)  # fmt: skip
FILE = AcquirerFile(
    PLACE[0], MERCHANT, *PLACE[1:], "f" * 64, 1, 5, 0, 0, 0, "f.i.le", "0" * 64, "BankTwo"
)
