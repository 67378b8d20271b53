"""Envelopes damaged in one place, and Fabric's answer to each, word by word.

The rows were found by holding thousands of damaged envelopes to Fabric's own packages; the tests
of fidelity hold them to its orderer.
"""

import base64
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fabric_protos.common import common_pb2, configtx_pb2

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer

CHANNEL = "payments"
Row = tuple[str, bytes, tuple[str, str]]
"""(what is wrong, the serialised Envelope, (status, info) of the answer)."""

_UPDATE = common_pb2.HeaderType.CONFIG_UPDATE
_WIRE = "proto: cannot parse invalid wire-format data"
_NO_CHANNEL = "could not determine channel ID: "
_NO_SIGNER = "could not convert message to signedData: GetSignatureHeaderFromBytes failed, err "
_DENIED = (
    "implicit policy evaluation failed - 0 sub-policies were satisfied, but this policy requires "
    "1 of the 'Writers' sub-policies to be satisfied: permission denied"
)


def rows(signer: X509Signer) -> list[Row]:
    """All of them, signed by a writer of the channel."""
    return [*_headers(signer), *_creators(signer), *_updates(signer)]


def _signed(signer: X509Signer, change: Callable[[Any], None], kind: int = 3) -> bytes:
    """An envelope of a header type whose Payload was changed before it was signed."""
    envelope = protoutil.create_signed_envelope(kind, CHANNEL, signer, b"data")
    payload = common_pb2.Payload.FromString(envelope.payload)
    change(payload)
    return bytes(protoutil.sign_payload(signer, payload.SerializeToString()).SerializeToString())


def _headers(signer: X509Signer) -> list[Row]:
    def channel_header(raw: bytes) -> Callable[[Any], None]:
        return lambda payload: setattr(payload.header, "channel_header", raw)

    def signature_header(raw: bytes) -> Callable[[Any], None]:
        return lambda payload: setattr(payload.header, "signature_header", raw)

    bad, header = "BAD_REQUEST", "error unmarshalling channel header: error unmarshalling "
    no_text = "string field contains invalid UTF-8"
    initial = "config update for existing channel did not pass initial checks: "
    return [
        ("channel header", _signed(signer, channel_header(b"\xff")),
         (bad, f"{_NO_CHANNEL}{header}ChannelHeader: {_WIRE}")),
        ("channel id", _signed(signer, channel_header(b"\x22\x02\xff\xfe")),
         (bad, f"{_NO_CHANNEL}{header}ChannelHeader: {no_text}")),
        ("signature header", _signed(signer, signature_header(b"\x0a\x05abc")),
         (bad, f"{_NO_SIGNER}{_WIRE}")),
        ("an update's signature header", _signed(signer, signature_header(b"\xff"), _UPDATE),
         (bad, f"{initial}{_NO_SIGNER}{_WIRE}")),
    ]  # fmt: skip


def _creators(signer: X509Signer) -> list[Row]:
    certificate = x509.load_pem_x509_certificate(signer.certificate_pem)
    der = certificate.public_bytes(Encoding.DER)
    eleventh = der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a", 1)
    first, rest = signer.certificate_pem.split(b"\n", 1)

    def by(pem: bytes) -> bytes:
        header = common_pb2.SignatureHeader(
            creator=protoutil.serialized_identity(signer.msp_id, pem), nonce=b"n"
        )
        raw = header.SerializeToString()
        return _signed(signer, lambda payload: setattr(payload.header, "signature_header", raw))

    refused, taken = ("FORBIDDEN", _DENIED), ("SUCCESS", "")
    encoded = base64.encodebytes(eleventh).strip()
    return [
        ("X.509 of version 11", by(first + b"\n" + encoded + b"\n-----END CERTIFICATE-----\n"),
         refused),
        ("PEM not at a line's begin", by(b" " + signer.certificate_pem), refused),
        ("PEM with a stray character", by(first + b"\n:" + rest.replace(b"\n", b":\n", 1)),
         refused),
        ("PEM with a header", by(first + b"\nProc-Type: x\n" + rest), taken),
        ("PEM begun twice", by(first + b"\n" + signer.certificate_pem), taken),
    ]  # fmt: skip


def _updates(signer: X509Signer) -> list[Row]:
    def update(change: Callable[[Any], None], signature_header: bytes = b"") -> bytes:
        content = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
        change(content)
        envelope = configtx_pb2.ConfigUpdateEnvelope(config_update=content.SerializeToString())
        envelope.signatures.add(signature_header=signature_header, signature=b"s")
        raw = envelope.SerializeToString()
        return _signed(signer, lambda payload: setattr(payload, "data", raw), _UPDATE)

    def named(name: str) -> Callable[[Any], None]:
        return lambda content: content.write_set.values[name].SetInParent()

    def ruled(content: Any) -> None:
        content.read_set.SetInParent()
        content.write_set.values["New"].mod_policy = "/Channel/Ad mins"

    says = f"error applying config update to existing channel '{CHANNEL}': error authorizing update"
    mapping = f"{says}: error mapping WriteSet: illegal characters in key: [Value]  : "
    bad = "BAD_REQUEST"
    return [
        ("a signature of an update", update(lambda _: None, b"\xff"), (bad, f"{says}: {_WIRE}")),
        ("a signature of another's update",
         update(lambda content: setattr(content, "channel_id", "other"), b"\xff"),
         (bad, f"{says}: ConfigUpdate for channel 'other' but envelope for channel '{CHANNEL}'")),
        ("a key's character", update(named("Batch Size")),
         (bad, f"{mapping}config ID 'Batch Size' contains illegal characters")),
        ("a key's name", update(named("..")),
         (bad, f"{mapping}name '..' for config ID is not allowed")),
        ("an empty key", update(named("")), (bad, f"{mapping}config ID illegal, cannot be empty")),
        ("a key's length", update(named("x" * 250)),
         (bad, f"{mapping}config ID illegal, cannot be longer than 249")),
        ("a mod_policy", update(ruled),
         (bad, f"{says}: error validating DeltaSet: invalid mod_policy for element [Value]  "
               "/Channel/New: path element at 1 is invalid: config ID 'Ad mins' contains illegal "
               "characters")),
    ]  # fmt: skip
