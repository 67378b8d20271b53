"""A running network with the suite's chaincode, and callers through one stack's client."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaincode_deployment import Definition, Server, deploy, make_server
from conformance_clients import Client, ClientError, Json, to_bytes, to_text
from fabric_protos.gateway import gateway_pb2

from clearline.fabric.identity import X509Signer
from network.home import Home
from network.topology import Topology

HERE = Path(__file__).parent
CHANNEL = "payments"
VALID = 0
# Long enough for a slow machine; nothing waits for it when things work.
SECONDS = 15.0


@dataclass(frozen=True)
class Network:
    """A network that is up. engine: embedded or fabric."""

    engine: str
    home: Home
    topology: Topology

    @property
    def organizations(self) -> tuple[str, ...]:
        return tuple(organization.name for organization, _ in self.topology.peers())

    def certificate(self, organization: str, user: str) -> Path:
        return self.home.user(organization, user) / "msp" / "signcerts" / "cert.pem"

    def key(self, organization: str, user: str) -> Path:
        return self.home.user(organization, user) / "msp" / "keystore" / "key.pem"


@dataclass(frozen=True)
class Programs:
    """A stack's command lines: its client and its chaincode server."""

    client: tuple[str, ...]
    chaincode: tuple[str, ...]
    folder: Path


def python_programs() -> Programs:
    """Our own client and shim."""
    python = (sys.executable, "-W", "error")
    return Programs(
        (*python, str(HERE / "driver_python.py")),
        (*python, str(HERE / "chaincode_py" / "server.py")),
        HERE,
    )


def node_programs(folder: Path) -> Programs:
    """The official Node client and chaincode API."""
    return Programs(
        ("node", str(folder / "driver.js")), ("node", str(folder / "chaincode.js")), folder
    )


def go_programs(folder: Path) -> Programs:
    """The official Go client and shim."""
    return Programs((str(folder / "driver"),), (str(folder / "chaincode"),), folder)


@dataclass(frozen=True)
class Committed:
    """A transaction in a block."""

    tx_id: str
    block: int
    code: int
    result: bytes


@dataclass
class Caller:
    """Somebody who calls one chaincode through the client under test.

    everywhere: waits until every peer has a transaction, so that what reads it is endorsed alike;
    on a busy machine one peer or another lags.
    """

    client: Client
    session: str
    chaincode: str
    channel: str = CHANNEL
    everywhere: Callable[[Committed], None] = lambda _: None

    def _fields(self, args: Sequence[str], options: Json) -> Json:
        fields: Json = {"session": self.session}
        if args:
            fields |= {"channel": self.channel, "chaincode": self.chaincode, "args": list(args)}
        return fields | options

    def evaluate(self, *args: str, **options: Any) -> bytes:
        return to_bytes(self.client.call("evaluate", **self._fields(args, options))["result"])

    def propose(self, *args: str, **options: Any) -> Json:
        return self.client.call("propose", **self._fields(args, options))

    def endorse(self, *args: str, **options: Any) -> Json:
        return self.client.call("endorse", **self._fields(args, options))

    def start_endorse(self, *args: str, **options: Any) -> Future[Json]:
        return self.client.start("endorse", **self._fields(args, options))

    def transact(self, *args: str, **options: Any) -> bytes:
        return to_bytes(self.client.call("transact", **self._fields(args, options))["result"])

    def start_transact(self, *args: str, **options: Any) -> Future[Json]:
        return self.client.start("transact", **self._fields(args, options))

    def submit(self, transaction: Json, **options: Any) -> Json:
        return self.client.call(
            "submit", session=self.session, bytes=transaction["bytes"], **options
        )

    def status(self, commit: Json, deadline: float = SECONDS, **options: Any) -> Json:
        return self.client.call(
            "status", session=self.session, bytes=commit["bytes"], deadline=deadline, **options
        )

    def order(self, transaction: Json) -> Committed:
        """Submit an endorsed transaction and wait for its block, whatever its code."""
        status = self.status(self.submit(transaction))
        result = to_bytes(transaction["result"])
        done = Committed(transaction["tx_id"], status["block"], status["code"], result)
        self.everywhere(done)
        return done

    def commit(self, *args: str, **options: Any) -> Committed:
        """The whole way; the transaction must be VALID."""
        done = self.order(self.endorse(*args, **options))
        assert done.code == VALID
        return done

    def refused(self, operation: str, *args: str, **options: Any) -> ClientError:
        """The error that a call must end with."""
        try:
            answer = self.client.call(operation, **self._fields(args, options))
        except ClientError as error:
            return error
        raise AssertionError(f"{operation} {args} answered {answer}")

    def events(self, kind: str, **options: Any) -> Events:
        """Open a stream of chaincode, block or filtered events."""
        fields = {"kind": kind, "session": self.session, "channel": self.channel}
        fields["chaincode"] = self.chaincode
        opened = self.client.call("open_events", **(fields | options))
        return Events(self.client, opened["stream"])

    def commit_request(self, tx_id: str, identity: bytes) -> Json:
        """An unsigned commit status request for any id, as submit answers for its own."""
        request = gateway_pb2.CommitStatusRequest(
            channel_id=self.channel, transaction_id=tx_id, identity=identity
        )
        signed = gateway_pb2.SignedCommitStatusRequest(request=request.SerializeToString())
        return {"bytes": to_text(signed.SerializeToString())}


@dataclass
class Events:
    """An open stream; use as a context."""

    client: Client
    stream: str

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.call("close_events", stream=self.stream)

    def step(self, timeout: float = SECONDS) -> Json:
        """{"event": ...}, {"timeout": true} or {"end": true, "error": ...}."""
        return self.client.call("next_event", stream=self.stream, timeout=timeout)

    def next(self) -> Json:
        """The following event, which must come."""
        found = self.step()
        assert "event" in found, found
        event: Json = found["event"]
        return event

    def until_block(self, number: int) -> Json:
        """The following block of that number."""
        while True:
            event = self.next()
            assert event["block"] <= number
            if event["block"] == number:
                return event

    def checkpoint(self) -> None:
        """The last event is done."""
        self.client.call("checkpoint", stream=self.stream)


@dataclass
class Stack:
    """A client and a chaincode of one language on a network."""

    name: str
    network: Network
    client: Client
    servers: dict[str, Server]
    _sessions: set[str] = field(default_factory=set)

    @property
    def chaincode(self) -> str:
        """The chaincode under the channel's policy: a majority of the organisations."""
        return f"conformance_{self.name}"

    @property
    def chaincode_of_all(self) -> str:
        """The same code, where every organisation must endorse."""
        return f"conformance_{self.name}_all"

    def caller(
        self, organization: str = "BankOne", user: str = "gateway", chaincode: str = ""
    ) -> Caller:
        """A user of an organisation at its own peer."""
        signer = str(self.network.key(organization, user))
        return self._caller(organization, user, signer, chaincode)

    def everywhere(self, done: Committed) -> None:
        """Until every peer has it."""
        users = {"BankOne": "gateway", "BankTwo": "gateway", "Supervisor": "auditor"}
        for organization, user in users.items():
            caller = self.caller(organization, user)
            request = caller.commit_request(done.tx_id, self.signer(organization, user).identity)
            assert caller.status(request)["code"] == done.code

    def unsigned(self) -> Caller:
        """BankOne's gateway user without the private key: signatures are made elsewhere."""
        return self._caller("BankOne", "gateway", None, "")

    def _caller(self, organization: str, user: str, key: str | None, chaincode: str) -> Caller:
        session = f"{organization}/{user}/{'signs' if key else 'unsigned'}"
        certificate = str(self.network.certificate(organization, user))
        self.connect(session, organization, user, (organization, certificate, key))
        called = chaincode or self.chaincode
        return Caller(self.client, session, called, everywhere=self.everywhere)

    def connect(
        self, session: str, organization: str, user: str, identity: tuple[str, str, str | None]
    ) -> None:
        """A session at an organisation's peer; identity: MSP id, certificate file, key file."""
        if session in self._sessions:
            return
        self._sessions.add(session)
        msp_id, certificate, key = identity
        peer = self.network.topology.organization(organization).peers[0]
        tls = self.network.home.user(organization, user) / "tls"
        self.client.call(
            "connect",
            session=session,
            identity={"msp_id": msp_id, "certificate": certificate, "key": key},
            peer={
                "endpoint": peer.endpoint,
                "server_name": peer.name,
                "tls_ca": str(tls / "ca.pem"),
            },
            tls={"certificate": str(tls / "cert.pem"), "key": str(tls / "key.pem")},
        )

    def signer(self, organization: str = "BankOne", user: str = "gateway") -> X509Signer:
        """Signs outside the client under test."""
        network = self.network
        return X509Signer.from_files(
            organization, network.certificate(organization, user), network.key(organization, user)
        )


def start_stack(name: str, network: Network, programs: Programs) -> Stack:
    """Start the stack's chaincode servers, define both chaincodes, start its client."""
    label = f"conformance_{name}"
    organizations = [organization for organization, _ in network.topology.peers()]
    servers = {
        organization.name: make_server(
            network.home, network.topology, organization, label, programs.chaincode
        )
        for organization in organizations
    }
    client = Client(programs.client, programs.folder, network.home.logs / f"client-{name}.log")
    stack = Stack(name, network, client, servers)
    try:
        for server in servers.values():
            server.start()
        for server in servers.values():
            server.until_ready()
        definitions = (
            Definition(stack.chaincode),
            Definition(stack.chaincode_of_all, at_least=len(organizations)),
        )
        asyncio.run(deploy(network.home, network.topology, [*servers.values()], definitions))
    except BaseException:
        stop_stack(stack)
        raise
    return stack


def stop_stack(stack: Stack) -> None:
    """End the client and the chaincode servers."""
    for server in stack.servers.values():
        server.kill()
    stack.client.close()
