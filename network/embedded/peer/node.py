"""A peer node: settings in, Fabric's peer services over mutual TLS on one port out."""

from __future__ import annotations

from typing import Any

import grpc
from fabric_protos.peer import proposal_pb2

from clearline.fabric.identity import X509Signer
from clearline.logs import get_logger
from network.embedded import left_out, wire
from network.embedded.deliver import Sources, peer_streams
from network.embedded.limits import DELIVER, ENDORSER, Limit
from network.embedded.peer import gateway_service, grpc_errors, local_msp
from network.embedded.peer.acl import AccessControl
from network.embedded.peer.chaincode_runtime import ChaincodeRuntime
from network.embedded.peer.channel_table import ChannelTable
from network.embedded.peer.config import PeerConfig
from network.embedded.peer.endorsements import EndorsementCollector
from network.embedded.peer.endorser import Endorser, Parts, RefusedProposalError
from network.embedded.peer.grpc_errors import RpcError, abort
from network.embedded.peer.lifecycle import Lifecycle
from network.embedded.peer.packages import PackageStore
from network.embedded.peer.proposals import SignedProposal
from network.embedded.peer.registry import Address, Registry, dialler
from network.embedded.peer.system_chaincodes import ConfigurationChaincode, QueryChaincode

_log = get_logger(__name__)
_ENDORSER, _DELIVER = "protos.Endorser", "protos.Deliver"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


class PeerNode:
    """One peer. Belongs to one event loop; tests may hold several in a process."""

    def __init__(self, config: PeerConfig) -> None:
        """Read identities. Raises OSError, IdentityError, MSPError or PackageError."""
        self.config = config
        signer = X509Signer.from_files(
            config.msp_id,
            config.msp_dir / "signcerts" / "cert.pem",
            config.msp_dir / "keystore" / "key.pem",
        )
        local = local_msp.load(config.msp_id, config.msp_dir)
        tls = wire.TlsIdentity(
            config.tls.certificate.read_bytes(), config.tls.private_key.read_bytes()
        )
        self._configured_roots = b"".join(item.read_bytes() for item in config.tls.client_roots)
        dial = dialler(tls)
        self.channels = ChannelTable(
            config.data_dir / "channels",
            config.ledger_map_bytes,
            signer,
            dial,
            wire.certificate_hash(tls.certificate),
        )
        access = AccessControl(config.msp_id, local)
        packages = PackageStore(config.data_dir / "packages", config.chaincode)
        self._runtime = ChaincodeRuntime(config.msp_id, packages, config.execute_timeout_seconds)
        self._endorser = Endorser(
            Parts(
                signer=signer,
                local=local,
                access=access,
                channels=self.channels,
                lifecycle=Lifecycle(packages, self._references),
                runtime=self._runtime,
                system={
                    "cscc": ConfigurationChaincode(self.channels, access).invoke,
                    "qscc": QueryChaincode(self.channels, access).invoke,
                },
            )
        )
        self._registry = Registry(Address(config.msp_id, config.external_endpoint), dial)
        collector = EndorsementCollector(self._registry, self._endorser.process)
        gateway = gateway_service.GatewayService(
            gateway_service.Parts(self.channels.joined, access, self._registry, collector)
        )
        services = (
            wire.service(
                _ENDORSER, {"ProcessProposal": Limit(_ENDORSER, ENDORSER).unary(self._process)}
            ),
            gateway.service(),
            wire.service(_DELIVER, _deliver_methods(self.channels.find)),
            wire.service("grpc.health.v1.Health", {"Check": wire.unary(_health)}),
            *left_out.peer_services(),
        )
        self._server = wire.Server(config.listen, tls, self._client_roots, services)
        self.port = 0

    async def start(self) -> int:
        """Take up joined channels and serve; answers the port.

        Raises wire.BindError, LedgerError or ChannelConfigError.
        """
        self.channels.start()
        self.port = await self._server.start()
        _log.info(
            "peer is serving",
            extra={
                "node": self.config.name,
                "port": self.port,
                "channels": {key: item.height for key, item in self.channels.joined.items()},
            },
        )
        return self.port

    async def stop(self, grace_seconds: float = 1.0) -> None:
        """Finish the block in work, end streams, give the ledgers free."""
        await self.channels.stop_pulling()
        await self._server.stop(grace_seconds)
        await self._runtime.close()
        await self._registry.close()
        await self.channels.close()
        _log.info("peer has stopped", extra={"node": self.config.name})

    async def _process(self, raw: bytes, context: Any) -> bytes:
        try:
            signed = grpc_errors.request(proposal_pb2.SignedProposal, raw)
            response = await self._endorser.process(SignedProposal(signed))
            return bytes(response.SerializeToString())
        except RpcError as error:
            await abort(context, error)
        except RefusedProposalError as error:
            await context.abort(grpc.StatusCode.UNKNOWN, str(error))
        raise AssertionError("abort raises")

    def _references(self, package_id: str) -> list[tuple[str, str, str]]:
        return [
            entry
            for channel in self.channels.joined.values()
            for entry in self._runtime.references(channel, package_id)
        ]

    def _client_roots(self) -> bytes:
        """Also called from gRPC's threads: reads whole values only."""
        channels = tuple(self.channels.joined.values())
        return self._configured_roots + b"".join(item.bundle.tls_roots() for item in channels)


def _deliver_methods(sources: Sources) -> dict[str, Any]:
    limit = Limit(_DELIVER, DELIVER)
    return {name: limit.bidi_stream(serve) for name, serve in peer_streams(sources).items()}


async def _health(raw: bytes, context: Any) -> bytes:
    return _SERVING
