"""A whole house on real sockets, and anybody who might come to one of its doors.

Certificates are issued by the organisations' own authorities: what is refused here is refused to
somebody whom Fabric takes for a member.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import reached
import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fabric_protos.peer import proposal_response_pb2
from requests.adapters import HTTPAdapter

from clearline import bearer, canonical
from clearline.fabric import protoutil
from clearline.fabric.commit import CommitStatus
from clearline.fabric.contract import Contract
from clearline.fabric.errors import EndorseError, EvaluateError
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import PeerEndpoint, Profile
from clearline.fabric.transaction import Transaction
from clearline.house.layout import House
from clearline.jws import KeySigner
from network.certificates import ROLE_ATTRIBUTE, Authority, issue_identity

MSPS = ("BankOne", "BankTwo", "Supervisor")
PEERS = {"BankOne": "peer0.bankone", "BankTwo": "peer0.banktwo", "Supervisor": "peer0.supervisor"}
NO_ROLE = ""
Value = TypeVar("Value")


@dataclass(frozen=True)
class Who:
    """A certificate: the authority that issues it, the role in it ("" for none), its OU, the MSP
    it says it belongs to ("" for its issuer's), its common name ("" for one of its own)."""

    msp: str
    role: str = NO_ROLE
    unit: str = "client"
    claims: str = ""
    name: str = ""


@dataclass(frozen=True)
class Answer:
    """What became of a call: `refused` says by whom (`peer`, `contract`, "" when it was taken),
    `said` in which words; `value` is the contract's answer."""

    refused: str = ""
    said: str = ""
    value: Any = None

    def __post_init__(self) -> None:
        reached.note(self.value)
        if self.refused == "contract":
            reached.note({"code": self.code})

    @property
    def code(self) -> str:
        """The code of a call that the contract refuses as a whole: "400, malformed: ..."."""
        return self.said.partition(", ")[2].partition(":")[0]

    @property
    def codes(self) -> list[str]:
        """The outcomes' codes."""
        assert self.refused == "", self.said
        return [outcome["code"] for outcome in self.value]


@dataclass
class World:
    """The house and connections to its peers. `runner` is the one loop they live in."""

    house: House
    runner: asyncio.Runner
    last_block: int = 0  # the last one a `submit` was committed in
    _channels: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> str:
        """Its name."""
        return self.house.network

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Do it in the world's loop, within bounds."""

        async def bounded() -> Value:
            async with asyncio.timeout(30):
                return await work

        return self.runner.run(bounded())

    def close(self) -> None:
        """End the connections."""

        async def all_of_them() -> None:
            for channel in self._channels.values():
                await channel.close()

        self.run(all_of_them())

    # Fabric

    def profile(self, msp: str, user: str = "admin") -> Profile:
        """One of the house's own users."""
        return Profile.load(self.house.profile(msp, user))

    def authority(self, msp: str) -> Authority:
        """The organisation's identity CA."""
        return _authority(self.house.home / "crypto" / msp / "ca")

    def signer(self, who: Who) -> X509Signer:
        """Who it is, with a new certificate; the same one each time."""
        return _signer(self.house.home, who)

    def node(self, name: str, msp: str) -> X509Signer:
        """A node's own identity: what a peer endorses with."""
        folder = self.house.home / "crypto" / msp / "nodes" / name / "msp"
        return X509Signer.from_files(
            msp, folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem"
        )

    def user(self, msp: str, name: str) -> X509Signer:
        """One of the house's own users as a signer."""
        return X509Signer.from_profile(self.profile(msp, name))

    def channel(self, msp: str) -> Any:
        """The connection to an organisation's peer. TLS lets every member in: the signature on a
        call says who calls."""

        async def opened() -> grpc.aio.Channel:
            if msp == "Orderer":
                return replace(self.profile("BankOne"), peer=self._orderer()).open_channel()
            return self.profile(msp).open_channel()

        if msp not in self._channels:
            self._channels[msp] = self.run(opened())
        return self._channels[msp]

    def tls_cert_hash(self, at: str) -> bytes:
        """What a seek over `channel` must name."""
        return self.profile("BankOne" if at == "Orderer" else at).tls_cert_hash()

    def _orderer(self) -> PeerEndpoint:
        """Where the Supervisor's orderer is, in the form a profile has for a peer."""
        topology = yaml.safe_load((self.house.home / "network.yaml").read_text())
        (owner,) = (o for o in topology["organizations"] if o["name"] == "Supervisor")
        (orderer,) = owner["orderers"]
        ca = self.house.tls_ca("Supervisor")
        return PeerEndpoint(f"127.0.0.1:{orderer['port']}", orderer["name"], ca)

    def gateway(self, signer: X509Signer, at: str = "") -> Gateway:
        """The Gateway service of the peer of `at`, by default of the signer's own organisation."""
        msp = at or (signer.msp_id if signer.msp_id in MSPS else "BankOne")
        return Gateway(self.channel(msp), signer)

    def evaluate(self, signer: X509Signer, function: str, argument: Any, at: str = "") -> Answer:
        """A query of one peer: nothing is ordered."""
        contract = self.gateway(signer, at).network("payments").contract("clearline")
        try:
            answer = self.run(contract.evaluate(function, dumped(argument)))
        except EvaluateError as error:
            return _refused(error)
        return Answer(value=canonical.loads(answer))

    def endorse(self, signer: X509Signer, function: str, argument: Any, at: str = "") -> Answer:
        """Endorsed by as many peers as it takes, and not submitted."""
        contract = self.gateway(signer, at).network("payments").contract("clearline")
        proposal = contract.new_proposal(function, [dumped(argument)])
        try:
            transaction = self.run(proposal.endorse())
        except EndorseError as error:
            return _refused(error)
        return Answer(value=canonical.loads(transaction.result))

    def submit(self, signer: X509Signer, function: str, argument: Any, at: str = "") -> Answer:
        """Endorsed, ordered, committed. Once more when another transaction was quicker."""
        contract = self.gateway(signer, at).network("payments").contract("clearline")
        for _ in range(5):
            try:
                transaction, status = self.run(_committed(contract, function, dumped(argument)))
            except EndorseError as error:
                return _refused(error)
            if status.code_name == "MVCC_READ_CONFLICT":
                continue
            assert status.successful, status
            self.last_block = status.block_number
            self._level(transaction.transaction_id)
            return Answer(value=canonical.loads(transaction.result))
        raise AssertionError("five conflicts in a row")

    def _level(self, transaction_id: str) -> None:
        """Wait until every peer has the transaction: who is a block behind endorses otherwise."""
        auditor = self.user("Supervisor", "auditor")
        for msp in MSPS:
            contract = self.gateway(auditor, msp).network("payments").contract("clearline")
            assert self.run(contract.new_commit(transaction_id).status()).successful

    def process(
        self, signer: X509Signer, at: str, chaincode: str, args: Sequence[bytes], channel: str = ""
    ) -> tuple[int, str]:
        """Status and message of one peer's Endorser service, asked directly; 0 for a proposal that
        it does not even take."""
        _, proposal = protoutil.make_chaincode_proposal(channel, chaincode, args, signer.identity)
        signed = protoutil.sign_proposal(signer, proposal)
        self.channel(at)  # opened before the loop is taken
        try:
            response = self.run(self.endorsement(at, signed)).response
        except grpc.aio.AioRpcError as error:
            return 0, str(error.details())
        return response.status, response.message

    def stream(self, at: str, method: str, request: bytes, most: int) -> list[bytes]:
        """Up to `most` raw answers of a bidirectional method to one raw request; `at` is an
        organisation, for its peer, or "Orderer"."""

        async def answered() -> list[bytes]:
            call = self._channels[at].unary_stream(method)(request)
            found: list[bytes] = []
            async for one in call:
                found.append(one)
                if len(found) == most:
                    break
            call.cancel()
            return found

        self.channel(at)
        return self.run(answered())

    async def endorsement(self, at: str, signed: Any) -> Any:
        """A peer's ProposalResponse. Open the channel first."""
        method = self._channels[at].unary_unary(
            "/protos.Endorser/ProcessProposal",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=proposal_response_pb2.ProposalResponse.FromString,
        )
        return await method(signed, timeout=20)

    def record(self, kind: str, record_id: str) -> Any:
        """A record as the Supervisor's peer has it, None when there is none."""
        auditor = self.user("Supervisor", "auditor")
        return self.evaluate(auditor, "GetRecords", [[kind, record_id]]).value[0]

    # REST

    @cached_property
    def web(self) -> tuple[Web, ...]:
        """Each bank's REST gateway."""
        return tuple(
            Web(gateway.url, gateway.bank, self.house.tls_ca(gateway.bank))
            for gateway in self.house.gateways
        )


@dataclass
class Web:
    """A bank's REST gateway, by a client that believes nobody."""

    url: str
    bank: str
    ca: Path
    _session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self._session.trust_env = False
        self._session.mount("https://", HTTPAdapter(pool_maxsize=4))

    def close(self) -> None:
        """End its connections."""
        self._session.close()

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """One request."""
        answer = self._session.request(
            method, self.url + path, verify=str(self.ca), timeout=30, allow_redirects=False, **more
        )
        reached.note_body(answer.content)
        return answer

    def post(self, compact: str | bytes, **headers: str) -> requests.Response:
        """One intent."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = compact.encode() if isinstance(compact, str) else compact
        return self.ask(
            "POST", "/v1/payments", data=body, headers={"Content-Type": "application/jose"} | named
        )

    def batch(self, compacts: Sequence[Any]) -> requests.Response:
        """A list of intents."""
        return self.ask("POST", "/v1/payments/batch", json={"intents": list(compacts)})

    def token(self, merchant_id: str, signer: KeySigner, audience: str = "") -> dict[str, str]:
        """A bearer token for this gateway, or another."""
        text = bearer.issue(merchant_id, audience or self.url, signer)
        return {"Authorization": f"Bearer {text}"}


def dumped(argument: Any) -> bytes:
    """An argument's bytes; bytes as they are."""
    return argument if isinstance(argument, bytes) else json.dumps(argument).encode()


async def _committed(
    contract: Contract, function: str, argument: bytes
) -> tuple[Transaction, CommitStatus]:
    transaction = await contract.new_proposal(function, [argument]).endorse()
    return transaction, await (await transaction.submit()).status()


def _refused(error: EvaluateError | EndorseError) -> Answer:
    """Who said no: a contract's refusal has a code in front, everything else is a peer's."""
    said = [detail.message for detail in error.details] or [error.message]
    by_contract = all("chaincode response " in one for one in said)
    text = said[0].split("chaincode response ")[-1]
    return Answer("contract" if by_contract else "peer", text)


@lru_cache(maxsize=8)
def _authority(folder: Path) -> Authority:
    certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(certificate, key)


@lru_cache(maxsize=512)
def _signer(home: Path, who: Who) -> X509Signer:
    authority = _authority(home / "crypto" / who.msp / "ca")
    attributes = {ROLE_ATTRIBUTE: who.role} if who.role else None
    name = who.name or f"{who.role or 'nobody'}-{who.unit}"
    made = issue_identity(authority, who.msp, who.unit, name, attributes)
    key = serialization.load_pem_private_key(made.private_key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return X509Signer(who.claims or who.msp, made.certificate, key)
