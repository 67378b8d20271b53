"""core.yaml and orderer.yaml, written whole: every value that matters here is said here.

JSON is YAML too. An environment variable would count only for a key that the file has, and a
missing key falls back to values made for other networks (docs/fabric.md), so nothing is left out
that a node of this network reads. Sources: core/peer/config.go, gossip/gossip/config.go,
core/deliverservice/config.go, orderer/common/localconfig/config.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_LOOPBACK_ANY: Final = "127.0.0.1:0"
_MESSAGE_BYTES: Final = 100 * 1024 * 1024
# The gateway service of a peer pings every ten seconds; a server that allows fewer hangs up.
_MIN_PING: Final = "5s"
_BCCSP: Final[dict[str, Any]] = {
    "Default": "SW",
    "SW": {"Hash": "SHA2", "Security": 256, "FileKeyStore": {"KeyStore": ""}},
}


@dataclass(frozen=True)
class NodeFiles:
    """Where a node's certificates, data and trusted TLS authorities are; paths are absolute."""

    msp: Path
    tls: Path
    data: Path
    client_roots: tuple[Path, ...]


@dataclass(frozen=True)
class PeerChoice:
    """What tells one peer from another. endpoint: host:port. builder: external builder's folder."""

    name: str
    msp_id: str
    network: str
    endpoint: str
    builder: Path


@dataclass(frozen=True)
class OrdererChoice:
    """What tells one orderer from another."""

    name: str
    msp_id: str
    host: str
    port: int
    admin_port: int


def core(peer: PeerChoice, files: NodeFiles) -> dict[str, Any]:
    """core.yaml of a peer."""
    return {
        "peer": _peer(peer, files),
        # No Docker: chaincode runs as a service beside its peer.
        "vm": {"endpoint": "", "docker": {"tls": {"enabled": False}}},
        "chaincode": {
            "mode": "net",
            "keepalive": 0,
            "installTimeout": "60s",
            "startuptimeout": "30s",
            "executetimeout": "30s",
            "externalBuilders": [
                {"name": "service", "path": str(peer.builder), "propagateEnvironment": []}
            ],
            "system": dict.fromkeys(("_lifecycle", "cscc", "lscc", "qscc"), "enable"),
            "logging": {"level": "info", "shim": "warning"},
            "runtimeParams": {
                "useWriteBatch": True,
                "maxSizeWriteBatch": 1000,
                "useGetMultipleKeys": True,
                "maxSizeGetMultipleKeys": 1000,
            },
        },
        "ledger": {
            "state": {"stateDatabase": "goleveldb", "totalQueryLimit": 100_000},
            "history": {"enableHistoryDatabase": True},
            "snapshots": {"rootDir": str(files.data / "snapshots")},
        },
        "operations": {"listenAddress": _LOOPBACK_ANY, "tls": _operations_tls(files)},
        "metrics": {"provider": "disabled"},
    }


def _operations_tls(files: NodeFiles) -> dict[str, Any]:
    """That port can't be turned off, and changes the node's log level: nobody without a
    certificate (core/operations/system.go)."""
    return {
        "enabled": True,
        "cert": {"file": str(files.tls / "cert.pem")},
        "key": {"file": str(files.tls / "key.pem")},
        "clientAuthRequired": True,
        "clientRootCAs": {"files": [str(path) for path in files.client_roots]},
    }


def _peer(peer: PeerChoice, files: NodeFiles) -> dict[str, Any]:
    return {
        "id": peer.name,
        "networkId": peer.network,
        "listenAddress": peer.endpoint,
        "address": peer.endpoint,
        "addressAutoDetect": False,
        # Where chaincode would dial the peer; ours is a server that the peer dials.
        "chaincodeListenAddress": _LOOPBACK_ANY,
        "chaincodeAddress": _LOOPBACK_ANY,
        "fileSystemPath": str(files.data),
        "mspConfigPath": str(files.msp),
        "localMspId": peer.msp_id,
        "localMspType": "bccsp",
        "BCCSP": _BCCSP,
        "tls": {
            "enabled": True,
            "clientAuthRequired": True,
            "cert": {"file": str(files.tls / "cert.pem")},
            "key": {"file": str(files.tls / "key.pem")},
            "rootcert": {"file": str(files.tls / "ca.pem")},
            "clientRootCAs": {"files": [str(path) for path in files.client_roots]},
            "clientCert": {"file": str(files.tls / "cert.pem")},
            "clientKey": {"file": str(files.tls / "key.pem")},
        },
        "authentication": {"timewindow": "15m"},
        "client": {"connTimeout": "3s"},
        "connectiontimeout": "3s",
        "gateway": {
            "enabled": True,
            "endorsementTimeout": "30s",
            "broadcastTimeout": "30s",
            "dialTimeout": "10s",
        },
        # Off, the gateway service isn't there either.
        "discovery": {
            "enabled": True,
            "authCacheEnabled": True,
            "authCacheMaxSize": 1000,
            "authCachePurgeRetentionRatio": 0.75,
            "orgMembersAllowedAccess": False,
        },
        "keepalive": {
            "interval": "7200s",
            "timeout": "20s",
            "minInterval": _MIN_PING,
            "client": {"interval": "60s", "timeout": "20s"},
            # An orderer that stands still without closing its connections is left this soon.
            "deliveryClient": {"interval": "10s", "timeout": "5s"},
        },
        "gossip": _gossip(peer.endpoint),
        "deliveryclient": {
            "blockGossipEnabled": False,
            "reconnectTotalTimeThreshold": "3600s",
            "connTimeout": "3s",
            # A lost orderer is replaced by another one at once; never more than this between two.
            "minimalReconnectInterval": "100ms",
            "reConnectBackoffThreshold": "1s",
        },
        "handlers": {
            "authFilters": [
                {"name": "DefaultAuth"},
                {"name": "ExpirationCheck"},
                {"name": "TimeWindowCheck"},
            ],
            "decorators": [{"name": "DefaultDecorator"}],
            "endorsers": {"escc": {"name": "DefaultEndorsement"}},
            "validators": {"vscc": {"name": "DefaultValidation"}},
        },
        "validatorPoolSize": 0,
        "limits": {
            "concurrency": {
                "endorserService": 2500,
                "deliverService": 2500,
                "gatewayService": 500,
            }
        },
        "maxRecvMsgSize": _MESSAGE_BYTES,
        "maxSendMsgSize": _MESSAGE_BYTES,
        "profile": {"enabled": False},
    }


def _gossip(endpoint: str) -> dict[str, Any]:
    """One peer an organisation: gossip only tells the peers of each other, and quickly.

    Blocks come from the orderers. With the default intervals a new network waits half a minute.
    """
    return {
        "bootstrap": endpoint,
        "endpoint": endpoint,
        "externalEndpoint": endpoint,
        "useLeaderElection": False,
        "orgLeader": True,
        "reconnectInterval": "500ms",
        "publishStateInfoInterval": "300ms",
        "requestStateInfoInterval": "300ms",
        "aliveTimeInterval": "1s",
        "aliveExpirationTimeout": "10s",
        "membershipTrackerInterval": "1s",
        "dialTimeout": "3s",
        "connTimeout": "2s",
        "state": {"enabled": False},
        "pvtData": {
            # Only organisations' own approvals are private here. A peer that lost its ledger, or
            # joined beside another one, finds theirs nowhere: it would wait this long at each.
            "pullRetryThreshold": "200ms",
            "transientstoreMaxBlockRetention": 1000,
            "pushAckTimeout": "3s",
            "btlPullMargin": 10,
            "reconcileBatchSize": 10,
            "reconcileSleepInterval": "1m",
            "reconciliationEnabled": True,
            "implicitCollectionDisseminationPolicy": {"requiredPeerCount": 0, "maxPeerCount": 1},
        },
    }


def orderer(node: OrdererChoice, files: NodeFiles) -> dict[str, Any]:
    """orderer.yaml of an orderer that waits to be joined to its channel."""
    certificate, key = str(files.tls / "cert.pem"), str(files.tls / "key.pem")
    roots = [str(path) for path in files.client_roots]
    tls = {
        "Enabled": True,
        "Certificate": certificate,
        "PrivateKey": key,
        "RootCAs": roots,
        "ClientAuthRequired": True,
        "ClientRootCAs": roots,
    }
    return {
        "General": {
            "ListenAddress": node.host,
            "ListenPort": node.port,
            "TLS": tls,
            "Keepalive": {
                "ServerMinInterval": _MIN_PING,
                "ServerInterval": "7200s",
                "ServerTimeout": "20s",
            },
            "Cluster": {
                "ClientCertificate": certificate,
                "ClientPrivateKey": key,
                "RootCAs": roots,
                "SendBufferSize": 100,
                # Above: how long a follower stands still after its leader's death.
                "RPCTimeout": "2s",
                "ReplicationPolicy": "simple",
            },
            "BootstrapMethod": "none",
            "LocalMSPDir": str(files.msp),
            "LocalMSPID": node.msp_id,
            "BCCSP": _BCCSP,
            "Authentication": {"TimeWindow": "15m"},
            "MaxRecvMsgSize": _MESSAGE_BYTES,
            "MaxSendMsgSize": _MESSAGE_BYTES,
            "Profile": {"Enabled": False},
        },
        "FileLedger": {"Location": str(files.data / "ledger")},
        "Consensus": {"WALDir": str(files.data / "wal"), "SnapDir": str(files.data / "snapshots")},
        "Operations": {"ListenAddress": _LOOPBACK_ANY, "TLS": tls},
        "Metrics": {"Provider": "disabled"},
        "Admin": {"ListenAddress": f"{node.host}:{node.admin_port}", "TLS": tls},
        "ChannelParticipation": {"Enabled": True, "MaxRequestBodySize": "10 MB"},
    }
