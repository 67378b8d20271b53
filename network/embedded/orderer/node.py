"""An orderer node: settings in, `orderer.AtomicBroadcast` over mutual TLS out.

The channel is the one of the genesis block in the settings. Fabric's REST interface for channel
participation is left out: an embedded orderer serves exactly one channel, its own, from its first
start on, so there is nothing to join or to remove.
"""

from __future__ import annotations

import asyncio

from clearline.fabric.identity import X509Signer
from clearline.logs import get_logger
from network.embedded import left_out, wire
from network.embedded.deliver import DeliverStreams, orderer_access
from network.embedded.limits import ORDERER, Limit
from network.embedded.orderer.broadcast import BroadcastStreams
from network.embedded.orderer.chain import Chain, bootstrap
from network.embedded.orderer.config import OrdererConfig
from network.embedded.orderer.ledger import Ledger, LedgerError

_log = get_logger(__name__)
_SERVICE = "orderer.AtomicBroadcast"


class OrdererNode:
    """One orderer. Belongs to one event loop; tests may hold several in a process."""

    def __init__(self, config: OrdererConfig) -> None:
        """Open the ledger, bootstrapping an empty one.

        Raises OSError, LedgerError, BlockError, ChannelConfigError or IdentityError with what is
        wrong; nothing stays open then.
        """
        self.config = config
        signer = X509Signer.from_files(
            config.msp_id,
            config.msp_dir / "signcerts" / "cert.pem",
            config.msp_dir / "keystore" / "key.pem",
        )
        tls = wire.TlsIdentity(
            config.tls.certificate.read_bytes(), config.tls.private_key.read_bytes()
        )
        self._configured_roots = b"".join(item.read_bytes() for item in config.tls.client_roots)
        self._ledger = Ledger(config.data_dir, config.ledger_map_bytes)
        try:
            bootstrap(self._ledger, config.genesis_block.read_bytes())
            self.chain = Chain(self._ledger, signer)
        except BaseException:
            self._ledger.close()
            raise
        limit = Limit(_SERVICE, ORDERER)
        self._server = wire.Server(
            config.listen,
            tls,
            self._client_roots,
            (
                wire.service(
                    _SERVICE,
                    {
                        "Broadcast": limit.bidi_stream(BroadcastStreams(self._find).serve),
                        "Deliver": limit.bidi_stream(
                            DeliverStreams(self._find, orderer_access).serve
                        ),
                    },
                ),
                *left_out.orderer_services(),
            ),
        )
        self.port = 0

    async def start(self) -> int:
        """Serve; answers the port. Raises wire.BindError."""
        self.chain.start()
        self.port = await self._server.start()
        _log.info(
            "orderer is serving",
            extra={
                "node": self.config.name,
                "channel": self.chain.channel_id,
                "port": self.port,
                "height": self.chain.height,
            },
        )
        return self.port

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """Store what is pending, end the streams, give the ledger free."""
        await self.chain.stop()
        await self._server.stop(grace_seconds)
        self._ledger.close()
        _log.info(
            "orderer has stopped",
            extra={"node": self.config.name, "height": self.chain.height},
        )

    async def failed(self) -> str:
        """Return when the node can't go on, with the reason."""
        if self.chain.failure is None:
            raise LedgerError("the node was not started")
        return await asyncio.shield(self.chain.failure)

    def _find(self, channel_id: str) -> Chain | None:
        return self.chain if channel_id == self.chain.channel_id else None

    def _client_roots(self) -> bytes:
        """Also called from gRPC's threads: reads whole values only."""
        return self._configured_roots + self.chain.bundle.tls_roots()
