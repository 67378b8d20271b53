"""When an identity expires, whoever issued it (common/crypto/expiration.go)."""

from __future__ import annotations

from functools import lru_cache

from fabric_protos.msp import identities_pb2

from network.embedded import certificates


@lru_cache(maxsize=4096)
def expires_at(identity: bytes) -> float | None:
    """When a serialised identity's certificate ends, in seconds since 1970 UTC.

    None when it can't be read: that such an identity is none is for others to find out.
    """
    try:
        pem = identities_pb2.SerializedIdentity.FromString(identity).id_bytes
        return certificates.from_pem(pem).not_valid_after_utc.timestamp()
    except Exception:
        # X.509 parsing has many ways to fail on hostile bytes, not all of them ValueError.
        return None
