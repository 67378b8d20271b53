"""The closed forms of what the supervisor states, written a second time."""

from __future__ import annotations

from typing import Any, Final

from audit.shapes import Closed, Shape, anything, day, integer, one_of, text

_COUNT: Final = integer(0, 10**6)
_DAYS: Final = integer(0, 366)
_SHARE: Final[dict[str, Shape]] = {
    "basis_points": integer(0, 10**6),
    "least": integer(0, 10**12 - 1),
}
PARAMETERS: Final[dict[str, Closed]] = {
    "names_of_code": Closed({"names": _COUNT}),
    "places_of_code": Closed({"stores": _COUNT, "terminals": _COUNT, "sites": _COUNT}),
    "register_mismatch": Closed({"payments": _COUNT}),
    "money_kept": Closed({"stated_days": _DAYS, "paid_days": _DAYS}),
    "payout_returned": Closed({"days": _DAYS}),
    "adjustment_share": Closed(_SHARE),
    "refund_share": Closed(_SHARE),
    "splitting": Closed({"payments": _COUNT, "minutes": integer(1, 31 * 24 * 60)}),
    "left_open": Closed({"days": _DAYS}),
}
RULE: Final = Closed(
    {
        "rule_id": text("[A-Za-z0-9._-]{1,32}"),
        "version": integer(1, 9999),
        "kind": one_of(*PARAMETERS),
        "parameters": anything,
        "valid_from": day,
        "action": one_of("enforce", "withdraw"),
    }
)
_HASH: Final = text("[0-9a-f]{64}")
CHECKPOINT: Final = Closed(
    {"block": integer(1, 10**10 - 1), "header_hash": _HASH, "state_digest": _HASH}
)


def rule_fault(item: Any) -> str | None:
    """The first thing wrong with an item of SubmitRules, None for nothing."""
    fault = RULE.fault(item)
    return fault if fault is not None else PARAMETERS[item["kind"]].fault(item["parameters"])
