"""What a signing service signs: reports of one acquirer in one network, with one key.

Who asks is a connector by its certificate; what it asks for is read before it is signed, and each
signature leaves a line in the log. A connector's machine that is taken over can have reports signed
while it is; it can't take the key along, nor have anything else signed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clearline import jws, reports
from clearline.codes import Refusal
from clearline.logs import get_logger
from clearline.reports import Report
from clearline.signers import wire
from clearline.signers.holders import (
    Answer,
    Holder,
    KnownKey,
    SignerDownError,
    SignerRefusedError,
)

_log = get_logger("bank.signer")
_NO_SIGNATURE: Final = jws.encode(bytes(64))


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP status and its JSON body."""

    status: int
    body: bytes


class SignerDesk:
    """Answers calls from any thread; the holder is asked by one at a time."""

    def __init__(self, key: KnownKey, holder: Holder, network: str, acquirer_id: str) -> None:
        self._key = key
        self._holder = holder
        self._network = network
        self._acquirer_id = acquirer_id
        self._lock = threading.Lock()

    @property
    def key_id(self) -> str:
        """Whose signatures it gives."""
        return self._key.key_id

    def answer(self, body: bytes, client: str) -> Reply:
        """The answer to a call of a connector; `client` names it in the log."""
        try:
            request = wire.parse_request(body)
        except wire.WireError as error:
            return refusal(400, str(error))
        if request.key_id != self._key.key_id:
            return refusal(404, "this service does not hold that key")
        try:
            return Reply(200, wire.answers_body(self._sign(request.inputs, client)))
        except SignerDownError as error:
            _log.error("can't sign", extra={"reason": str(error)})
            return refusal(503, str(error))

    def close(self) -> None:
        """Let go of the holder."""
        with self._lock:
            self._holder.close()

    def _sign(self, inputs: Sequence[bytes], client: str) -> list[Answer]:
        read = [self._read(text) for text in inputs]
        taken = [
            text
            for text, report in zip(inputs, read, strict=True)
            if not isinstance(report, SignerRefusedError)
        ]
        with self._lock:
            signed = iter(self._holder.sign(taken) if taken else ())
        answers: list[Answer] = []
        for report in read:
            if isinstance(report, SignerRefusedError):
                _log.warning("refused", extra={"client": client, "reason": str(report)})
                answers.append(report)
                continue
            answers.append(next(signed))
            _log.info("signed", extra=_fields(report) | {"client": client})
        return answers

    def _read(self, text: bytes) -> Report | SignerRefusedError:
        """The report this is the signing input of, or why it is not signed."""
        try:
            found = reports.parse_any(text.decode("ascii") + "." + _NO_SIGNATURE)
        except Refusal as error:
            return SignerRefusedError(f"not a report: {error}")
        token, report = found.token, found.report
        if (token.key_id, token.algorithm) != (self._key.key_id, self._key.key.algorithm):
            return SignerRefusedError("the header names another key or algorithm")
        if (report.network, report.acquirer_id) != (self._network, self._acquirer_id):
            return SignerRefusedError(
                f"a report of {report.acquirer_id} in {report.network}, not of "
                f"{self._acquirer_id} in {self._network}"
            )
        return report


def refusal(status: int, reason: str) -> Reply:
    """Any other answer than signatures."""
    return Reply(status, wire.error_body(reason))


def _fields(report: Report) -> dict[str, object]:
    about = report.refund_key if report.refund_no else report.key
    return {
        "payment": str(about), "sequence": report.sequence, "status": report.status,
        "amount": report.amount, "currency": report.currency, "digest": report.digest(),
    }  # fmt: skip
