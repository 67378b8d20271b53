"""Proposals before they are sent: read from files, held against the ledger's own schemas.

Pure but for reading the file. What the contract would refuse for its form is refused here, with
the place in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearline import canonical, changes, jws, relations
from clearline.canonical import CanonicalError, Json
from clearline.cards import holds_card_number
from clearline.changes import KeyChange, SignedChange
from clearline.codes import Code, Refusal
from clearline.jws import MAX_COMPACT, JwsError
from clearline.proposals import PROPOSAL_KINDS, PROPOSALS
from clearline.schema import IDENTIFIER, SchemaError

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_ITEMS: Final = 500
_ID_DIGITS: Final = 16
_MEMBERS: Final = frozenset({"kind", "body", "proposal_id"})
# Digests and public keys hold digits by chance; everything else a person typed.
_NOT_SCANNED: Final = frozenset(
    {"account_id", "keys", "jwk", "key_id", "change", "document_digest"}
)
# What brings the key that a change of this kind adds: the merchant's signed text, or the key.
_ADDED: Final = {"merchant_key": "change", "acquirer_key": "jwk"}


class DocumentError(ValueError):
    """A file or proposal is not of the documented form: where and why, and the contract's code."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Draft:
    """A proposal to be made. The same kind and body have the same id unless one is given, so
    that proposing again is answered `duplicate` and does no harm."""

    proposal_id: str
    kind: str
    body: dict[str, Json]

    def to_json(self) -> dict[str, Json]:
        """The item ProposeRecords takes."""
        return {"proposal_id": self.proposal_id, "kind": self.kind, "body": self.body}


def draft(kind: str, body: Json, proposal_id: str | None = None) -> Draft:
    """A checked proposal. Raises DocumentError with the JSON Pointer of the first fault."""
    try:
        PROPOSAL_KINDS.check(kind, "/kind")
        PROPOSALS[kind].check(body, "/body")
        if proposal_id is not None:
            IDENTIFIER.check(proposal_id, "/proposal_id")
    except SchemaError as error:
        raise DocumentError(Code.MALFORMED, str(error)) from None
    for name, value in body.items():
        if name not in _NOT_SCANNED and _holds_card_number(value):
            raise DocumentError(Code.CARD_DATA_REFUSED, f"/body/{name}: looks like a card number")
    _check_keys(kind, body)
    if kind == "relation" and (fault := relations.fault(body)):
        raise DocumentError(Code.MALFORMED, fault)
    if proposal_id is None:
        proposal_id = f"{kind[:15]}-{canonical.digest([kind, body])[:_ID_DIGITS]}"
    return Draft(proposal_id, kind, body)


def _check_keys(kind: str, body: dict[str, Json]) -> None:
    if kind in ("merchant", "acquirer"):
        ids = [_key_id(jwk, f"/body/keys/{index}") for index, jwk in enumerate(body["keys"])]
        if len(frozenset(ids)) != len(ids):
            raise DocumentError(Code.KEY_REFUSED, "/body/keys: names a key twice")
    if kind in _ADDED:
        name = _ADDED[kind]
        if (body["action"] == "add") != (name in body):
            raise DocumentError(
                Code.MALFORMED, f"/body/{name}: goes with the action add, and only with it"
            )
        if "jwk" in body and _key_id(body["jwk"], "/body/jwk") != body["key_id"]:
            raise DocumentError(
                Code.KEY_REFUSED, "/body/key_id: is not the key's RFC 7638 thumbprint"
            )
    if "change" in body:
        _check_change(body)


def _check_change(body: dict[str, Json]) -> None:
    """That the signed text is about what the body names."""
    try:
        made = body_of(changes.parse(body["change"]))[1]
    except Refusal as refusal:
        raise DocumentError(refusal.code, f"/body/change: {refusal.detail}") from None
    if made != body:
        raise DocumentError(Code.MALFORMED, "/body/change: is not about what the proposal names")


def body_of(signed: SignedChange) -> tuple[str, dict[str, Json]]:
    """Kind and body of the proposal that carries what a merchant signed."""
    change = signed.change
    named = {"merchant_id": change.merchant_id, "change": signed.compact}
    if isinstance(change, KeyChange):
        return "merchant_key", named | {"action": "add", "key_id": change.key_id}
    return "merchant_account", named | {"account_id": change.account_id}


def read_change(path: Path) -> SignedChange:
    """The signed change in a file. Raises DocumentError naming the file."""
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_COMPACT + 2)
    except OSError as error:
        raise DocumentError(Code.MALFORMED, f"can't read {path}: {error.strerror}") from None
    try:
        return changes.parse(text.decode("ascii", "replace").strip())
    except Refusal as refusal:
        raise DocumentError(refusal.code, f"{path}: {refusal.detail}") from None


def _key_id(jwk: Json, pointer: str) -> str:
    try:
        jws.public_key(jwk, jws.algorithm_of(jwk))
    except JwsError as error:
        raise DocumentError(Code.KEY_REFUSED, f"{pointer}: {error}") from None
    return jws.thumbprint(jwk)


def _holds_card_number(value: Json) -> bool:
    if isinstance(value, str):
        return holds_card_number(value)
    if isinstance(value, list):
        return any(_holds_card_number(item) for item in value)
    if isinstance(value, dict):
        return any(holds_card_number(name) or _holds_card_number(v) for name, v in value.items())
    return False


def read_json(path: Path) -> Json:
    """A JSON file, strictly. Raises DocumentError naming the file."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DocumentError(Code.MALFORMED, f"can't read {path}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise DocumentError(Code.MALFORMED, f"{path} is larger than {MAX_BYTES} bytes")
    try:
        return canonical.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except CanonicalError as error:
        raise DocumentError(Code.MALFORMED, f"{path}: {error}") from None


def read_records(path: Path) -> list[Draft]:
    """A list of {"kind", "body", optional "proposal_id"}. Raises DocumentError naming the item."""
    document = read_json(path)
    if not isinstance(document, list) or not 1 <= len(document) <= MAX_ITEMS:
        raise DocumentError(
            Code.MALFORMED, f'{path}: must be a list of 1 to {MAX_ITEMS} {{"kind", "body"}}'
        )
    drafts = []
    for index, item in enumerate(document):
        try:
            drafts.append(_record(item))
        except DocumentError as error:
            raise DocumentError(error.code, f"{path}: item {index}: {error.detail}") from None
    ids = [item.proposal_id for item in drafts]
    for index, proposal_id in enumerate(ids):
        if proposal_id in ids[:index]:
            raise DocumentError(
                Code.CONFLICT, f"{path}: item {index}: the proposal {proposal_id} is there twice"
            )
    return drafts


def _record(item: Json) -> Draft:
    if not isinstance(item, dict) or not {"kind", "body"} <= set(item) <= _MEMBERS:
        raise DocumentError(
            Code.MALFORMED, "must be an object with kind, body and perhaps proposal_id"
        )
    return draft(item["kind"], item["body"], item.get("proposal_id"))
