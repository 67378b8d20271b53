"""`clearline merchant omissions`: which gateways broke their word, and the proof."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import orjson

from clearline import refunds, times
from clearline.canonical import Json
from clearline.intents import CloseIntent, PaymentKey
from clearline.refunds import RefundKey
from merchant.attempts import KeptReceipt
from merchant.client import HttpGateways
from merchant.desk import Desk, home_option, opened
from merchant.omissions import Finding, Found, Held, Known, Verdict, examine
from merchant.sights import Named

_EXIT: Final = 4  # exit code when a gateway's word was broken
_BROKEN: Final = frozenset({Verdict.OMITTED, Verdict.LATE})
_SILENT: Final = frozenset({Verdict.KEPT, Verdict.REFUSED, Verdict.OPEN})


@click.command()
@home_option
@click.option("--json", "as_json", is_flag=True, help="All findings with their evidence, as JSON.")
def omissions(home: Path, as_json: bool) -> None:
    """Hold every receipt in the order book against the ledger, through the other gateways.

    A receipt is a gateway's signed word that an intent is on the ledger, or refused with a reason
    that it signs, by its deadline. One whose deadline has passed while neither is so is a proof
    against that gateway: receipt, intent and the block at which another gateway did not find the
    payment, the close or the refund. It is kept in the order book: what comes later is late.
    Signatures count with a key that merchant.json pins in `gateway_keys`. Exit code 4 when one was
    broken.

    Example: clearline merchant omissions --json > proof.json
    """
    with opened(home) as desk:
        kept = desk.book.receipts()
        http = HttpGateways(desk.profile, desk.signer())
        try:
            findings = [_examine(desk, receipt, http) for receipt in kept]
            for finding in findings:
                _keep(desk, finding)
        finally:
            http.close()
        if as_json:
            shown = [_to_json(desk, finding) for finding in findings]
            click.echo(orjson.dumps({"omissions": shown}))
        else:
            _print(findings)
    sys.exit(_EXIT if any(item.verdict in _BROKEN for item in findings) else 0)


def _examine(desk: Desk, kept: KeptReceipt, http: HttpGateways) -> Finding:
    urls = tuple(gateway.url for gateway in desk.profile.gateways)
    payment = PaymentKey(desk.profile.merchant_id, kept.order_no, kept.attempt)
    key = payment if kept.refund_no is None else RefundKey(*payment, kept.refund_no)
    signed = frozenset(refunds.parse_any(text).intent.digest() for text in _signed(desk, key))
    gateway = urls.index(kept.gateway) if kept.gateway in urls else None
    # A close names its payment and nothing else: `created` is not in its digest.
    closes = CloseIntent(desk.profile.network, *payment, created="").digest()
    closes = closes if key == payment else ""
    held = Held(key, gateway, kept.receipt, signed, closes, desk.book.found(kept.receipt))
    return examine(held, Known(urls, desk.profile.gateway_keys, times.now()), http)


def _signed(desk: Desk, key: Named) -> list[str]:
    """Every intent ever signed for a payment or refund, as JWS texts."""
    if isinstance(key, RefundKey):
        return desk.book.refunds.signed(key.order_no, key.attempt, key.refund_no)
    return desk.book.intents(key.order_no, key.attempt)


def _keep(desk: Desk, finding: Finding) -> None:
    """What is found now counts later, when the gateways may show something else."""
    refusals = (finding.refusal,) if finding.refusal else ()
    found = Found(refusals, finding.omission)
    if found not in (Found(), finding.held.before):
        desk.book.keep_found(finding.held.receipt, found)


def _print(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.verdict in _SILENT:
            continue
        by = finding.claim.gateway if finding.claim is not None else "?"
        witness = "" if finding.witness is None else f" (seen through {finding.witness})"
        key = finding.held.key
        place = f"order {key.order_no} attempt {key.attempt}"
        place += f" refund {key.refund_no}" if isinstance(key, RefundKey) else ""
        click.echo(f"{finding.verdict.upper()} {place} by {by}: {finding.detail}{witness}")
    counts = {verdict: sum(item.verdict is verdict for item in findings) for verdict in Verdict}
    named = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    click.echo(f"{len(findings)} receipts{': ' + named if named else ''}")


def _to_json(desk: Desk, finding: Finding) -> Json:
    held, claim = finding.held, finding.claim
    urls = [gateway.url for gateway in desk.profile.gateways]
    number = held.key.refund_no if isinstance(held.key, RefundKey) else None
    tried = [] if number is not None else desk.book.attempts(held.key.order_no)
    origin = None if finding.origin is None else asdict(finding.origin)
    return {
        "order_no": held.key.order_no,
        "attempt": held.key.attempt,
        "refund_no": number,
        "verdict": finding.verdict,
        "detail": finding.detail,
        "receipt": held.receipt,
        "claim": None if claim is None else asdict(claim),
        "intents": _signed(desk, held.key),
        "close": next((a.close for a in tried if a.attempt == held.key.attempt), "") or None,
        "given_by": None if held.gateway is None else urls[held.gateway],
        "witness": finding.witness,
        "block": finding.block,
        "payment": origin if number is None else None,
        "refund": None if number is None else origin,
        "refusal": finding.refusal or None,
        "found": None if finding.omission is None else asdict(finding.omission),
    }
