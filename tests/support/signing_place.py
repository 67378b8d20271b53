"""A bank's signing service: its key, certificates of both ends, settings, the process."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearline.jws import KeySigner
from clearline.signers import settings
from clearline.signers.settings import RemoteKey, SignerSettings
from network.certificates import Authority, create_authority, issue_tls


@dataclass
class SigningPlace:
    """`folder` holds signer.json for the service, and what its clients need."""

    folder: Path
    authority: Authority
    key: KeySigner
    port: int

    @classmethod
    def make(cls, folder: Path, key: KeySigner, network: str, port: int = 0) -> "SigningPlace":
        folder.mkdir(parents=True, exist_ok=True)
        place = cls(folder, create_authority("BankOne", "tlsca"), key, port)
        (folder / "ca.pem").write_bytes(place.authority.pem)
        key.save(folder / "key.pem")
        place.public(key)
        place.issue("service", "")
        place.issue("connector", "connector")
        document = {
            "listen": f"127.0.0.1:{port}", "network": network, "acquirer_id": "unionpay",
            "signer": {"file": "key.pem"},
            "tls": {"certificate": "service.pem", "private_key": "service.key",
                    "client_ca": "ca.pem"},
        }  # fmt: skip
        (folder / "signer.json").write_text(json.dumps(document))
        return place

    def public(self, key: KeySigner) -> Path:
        """public.json, as keygen prints it."""
        path = self.folder / "public.json"
        path.write_text(json.dumps({"kid": key.key_id, "jwk": key.jwk}))
        return path

    def issue(self, name: str, role: str, authority: Authority | None = None) -> None:
        """NAME.pem and NAME.key."""
        attributes = {"clearline.role": role} if role else None
        made = issue_tls(authority or self.authority, "BankOne", name, (), attributes)
        (self.folder / f"{name}.pem").write_bytes(made.certificate)
        (self.folder / f"{name}.key").write_bytes(made.private_key)

    def member(self, client: str = "connector", **changes: Any) -> dict[str, Any]:
        """The `signer` member of a client's settings."""
        remote = {
            "endpoint": f"127.0.0.1:{self.port}", "server_name": "localhost", "tls_ca": "ca.pem",
            "certificate": f"{client}.pem", "private_key": f"{client}.key",
            "public_key": "public.json", "timeout_seconds": 2,
        }  # fmt: skip
        return {"remote": remote | changes}

    def remote(self, client: str = "connector", **changes: Any) -> RemoteKey:
        """The same, parsed."""
        parsed: SignerSettings = settings.parse(self.member(client, **changes), self.folder)
        assert isinstance(parsed, RemoteKey)
        return parsed

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """`clearline bank signer serve`, from when it listens; killed at the end."""
        words = ["-m", "clearline", "bank", "signer", "serve", "--config"]
        log = (self.folder / "signer.log").open("ab")
        with closing(log):
            process = await asyncio.create_subprocess_exec(
                sys.executable, *words, str(self.folder / "signer.json"), stderr=log
            )
        try:
            async with asyncio.timeout(20):
                while not await self._listens():
                    assert process.returncode is None, (self.folder / "signer.log").read_text()
                    await asyncio.sleep(0.02)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.transport.abort()
        return True
