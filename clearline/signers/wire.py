"""The signing service's protocol: JSON over HTTPS with mutual TLS. See docs/keys.md.

    POST /v1/signatures  {"key_id": "...", "inputs": ["<JWS signing input>", ...]}
    200                  {"answers": [{"signature": "<base64url>"} | {"refused": "<why>"}, ...]}

Inputs are whole signing inputs (RFC 7515 section 5.1), not digests: Ed25519 signs the message
itself, and the service sees what it signs. Any other status is {"error": "<why>"}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clearline import canonical, jws
from clearline.canonical import CanonicalError, Json
from clearline.schema import KEY_ID, Listed, Members, SchemaError, Text
from clearline.signers.holders import Answer, SignerError, SignerRefusedError

PATH: Final = "/v1/signatures"
MOST_INPUTS: Final = 32  # of one call
LARGEST_REQUEST: Final = 1 << 20  # bytes; 32 of the largest objects we sign are half of it
LARGEST_ANSWER: Final = 64 * 1024
_INPUT: Final = Text(
    rf"[A-Za-z0-9_-]{{1,{jws.MAX_COMPACT}}}\.[A-Za-z0-9_-]{{1,{jws.MAX_COMPACT}}}",
    "must be a JWS signing input",
)
_REQUEST: Final = Members({"key_id": KEY_ID, "inputs": Listed(_INPUT, 1, MOST_INPUTS)})
_REASON: Final = Text("[ -~]{1,200}", "must be up to 200 printable ASCII characters")
_ANSWER: Final = Members(
    {"signature": Text("[A-Za-z0-9_-]{86}", "must be 64 bytes in base64url"), "refused": _REASON},
    frozenset({"signature", "refused"}),
)
_ANSWERS: Final = Members({"answers": Listed(_ANSWER, 0, MOST_INPUTS)})
_ERROR: Final = Members({"error": _REASON})


class WireError(ValueError):
    """Not a message of this protocol; the text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call: sign these with that key."""

    key_id: str
    inputs: tuple[bytes, ...]


def request_body(key_id: str, inputs: Sequence[bytes]) -> bytes:
    """A call as it travels."""
    return canonical.dumps({"key_id": key_id, "inputs": [text.decode("ascii") for text in inputs]})


def parse_request(body: bytes) -> Request:
    """Raises WireError."""
    document = _parse(body, _REQUEST)
    return Request(document["key_id"], tuple(text.encode("ascii") for text in document["inputs"]))


def answers_body(answers: Sequence[Answer]) -> bytes:
    """The answer to a call, one for each input."""
    shown = [
        {"refused": printable(str(answer), 200)}
        if isinstance(answer, SignerError)
        else {"signature": jws.encode(answer)}
        for answer in answers
    ]
    return canonical.dumps({"answers": shown})


def parse_answers(body: bytes) -> list[Answer]:
    """Raises WireError. The signatures are not verified here."""
    found: list[Answer] = []
    for item in _parse(body, _ANSWERS)["answers"]:
        if len(item) != 1:
            raise WireError("an answer is a signature or refused")
        if "refused" in item:
            found.append(SignerRefusedError(item["refused"]))
            continue
        try:
            found.append(jws.decode(item["signature"]))
        except jws.JwsError as error:
            raise WireError(f"signature: {error}") from None
    return found


def error_body(reason: str) -> bytes:
    """What a status other than 200 carries."""
    return canonical.dumps({"error": printable(reason, 200)})


def parse_error(body: bytes) -> str:
    """The reason such a body gives, empty when it is none of ours."""
    try:
        return str(_parse(body, _ERROR)["error"])
    except WireError:
        return ""


def printable(text: str, most: int) -> str:
    """The text in printable ASCII, at most so many characters, never empty."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:most] or "?"


def _parse(body: bytes, shape: Members) -> dict[str, Json]:
    try:
        document = canonical.loads(body)
        shape.check(document, "")
    except (CanonicalError, SchemaError) as error:
        raise WireError(str(error)) from None
    return dict(document)
