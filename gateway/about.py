"""GET /v1/gateway: who this gateway is, by which key it signs receipts, and which acquirers it
finds available."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from flask import Blueprint, Response

from clearline import jws
from clearline.canonical import Json
from clearline.codes import Code, Refusal
from gateway import http
from gateway.http import services
from gateway.settings import Settings

blueprint = Blueprint("about", __name__)
SHOWN: Final = (
    "intent_bytes", "batch_bytes", "batch_items", "commit_wait_s", "preferred_wait_s",
    "block_wait_s", "receipt_deadline_s", "merchant_rate", "merchant_burst", "read_rate",
    "read_burst",
)  # fmt: skip


@blueprint.get("/v1/gateway")
def gateway() -> Response:
    """Public: it holds nothing that a certificate or an answer doesn't show."""
    http.parameters()
    provided = services()
    with provided.reader.snapshot() as snapshot:
        last_block = snapshot.last_block
    acquirers = [
        {
            "acquirer_id": name,
            "availability": judgement.availability.label,
            "reason": judgement.reason,
        }
        for name, judgement in sorted(provided.acquirers.all().items())
    ]
    body = {"last_block": last_block, "acquirers": acquirers}
    return http.json_response(_identity(provided.settings) | body)


@lru_cache(maxsize=8)
def _identity(settings: Settings) -> dict[str, Json]:
    """What doesn't change while the process lives. Raises Refusal for an unreadable profile."""
    try:
        # Not by clearline.fabric.profile: a worker loads no gRPC.
        profile = orjson.loads(settings.profile.read_bytes())
        path = settings.profile.resolve().parent / Path(profile["certificate"])
        pem = path.read_bytes()
        key = x509.load_pem_x509_certificate(pem).public_key()
        msp_id = str(profile["msp_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"the gateway's certificate can't be read: {type(error).__name__}"
        raise Refusal(Code.LEDGER_UNAVAILABLE, reason) from None
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise Refusal(Code.LEDGER_UNAVAILABLE, "the gateway's key is of another kind")
    jwk = jws.public_jwk(key)
    return {
        "name": settings.name,
        "network": settings.network,
        "audience": settings.audience,
        "msp_id": msp_id,
        "certificate": pem.decode("ascii"),
        "receipt_keys": [
            {"kid": jws.thumbprint(jwk), "alg": jws.algorithm_of(jwk).value, "jwk": jwk}
        ],
        "limits": {name: getattr(settings.limits, name) for name in SHOWN},
    }
