"""The two requests of the gateway service that are signed as bytes inside a signed message."""

import hashlib
from typing import Any, cast

from clearline.fabric.client import FabricClient
from clearline.fabric.identity import Signer


class SignedRequest:
    """A gateway.Signed...Request with members `request` and `signature`: signed on first use, or
    elsewhere over `digest`."""

    def __init__(self, client: FabricClient, signer: Signer, signed_request: Any) -> None:
        self._client = client
        self._signer = signer
        self._request = signed_request

    def to_bytes(self) -> bytes:
        """The signed message serialised, for offline signing."""
        return cast(bytes, self._request.SerializeToString())

    @property
    def digest(self) -> bytes:
        """SHA-256 of what is to be signed."""
        return hashlib.sha256(self._request.request).digest()

    def set_signature(self, signature: bytes) -> None:
        """Attach a signature made elsewhere over `digest`."""
        self._request.signature = signature

    def _signed(self) -> Any:
        if not self._request.signature:
            self.set_signature(self._signer.sign(self._request.request))
        return self._request
