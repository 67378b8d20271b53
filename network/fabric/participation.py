"""Joins orderers to the channel by Fabric's channel participation API.

Source: orderer/common/channelparticipation/restapi.go.
HTTPS with a client certificate, by the standard library: no proxy and no certificate bundle of the
environment can come between.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from network.administration import AdministrationError

_CHANNELS: Final = "/participation/v1/channels"
_START_SECONDS: Final = 20.0
_CALL_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True)
class OrdererAdministration:
    """One orderer's admin endpoint. tls: folder with cert.pem, key.pem (ours) and ca.pem (its)."""

    node: str
    host: str
    port: int
    tls: Path

    async def join(self, channel: str, genesis: bytes) -> bool:
        """Join the channel; False when the orderer was in it. Waits for one that is starting.

        Raises AdministrationError.
        """
        return await asyncio.to_thread(self._join, channel, genesis)

    def _join(self, channel: str, genesis: bytes) -> bool:
        step = f"join channel {channel}"
        status, body = self._when_up(step, "GET", f"{_CHANNELS}/{channel}", b"", {})
        if status == HTTPStatus.OK:
            return False
        boundary = uuid.uuid4().hex
        content = _multipart(boundary, "config-block", genesis)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        status, body = self._when_up(step, "POST", _CHANNELS, content, headers)
        if status == HTTPStatus.CREATED:
            return True
        raise AdministrationError(self.node, step, _reason(body), status)

    def _when_up(
        self, step: str, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        context = ssl.create_default_context(cafile=str(self.tls / "ca.pem"))
        context.load_cert_chain(str(self.tls / "cert.pem"), str(self.tls / "key.pem"))
        deadline = time.monotonic() + _START_SECONDS
        while True:
            connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=_CALL_SECONDS, context=context
            )
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except ConnectionRefusedError as error:
                if time.monotonic() > deadline:
                    raise AdministrationError(self.node, step, "doesn't listen") from error
            except (OSError, http.client.HTTPException) as error:
                raise AdministrationError(self.node, step, repr(error)) from error
            finally:
                connection.close()
            time.sleep(_POLL_SECONDS)


def _multipart(boundary: str, name: str, content: bytes) -> bytes:
    """RFC 7578 form data with one file."""
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{boundary}--\r\n".encode()


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")[:200]
