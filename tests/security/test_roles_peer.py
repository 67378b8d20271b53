"""What a peer and the orderer are asked, by whom: on the running network, one cell a test.

What an allowed caller asks for has no effect: a channel joined before, a package installed
before, a definition approved before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
import roles_table as table
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from security_world import Who, World

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer

AT = "BankOne"
CHANNEL = b"payments"
CELLS = [(what, caller) for what in table.PEER for caller in table.CALLERS]
PEOPLE = {
    "admin": Who(AT, unit="admin"),
    "client": Who(AT, "gateway"),
    "peer": Who(AT, unit="peer"),
    "other's admin": Who("BankTwo", unit="admin"),
    "other's client": Who("BankTwo", "gateway"),
    "no unit": Who(AT, "gateway", unit="nothing"),
}
Ask = Callable[[World, X509Signer], str]
_DENIED = (
    "access denied",
    "Failed evaluating policy",
    "Failed verifying that proposal's creator",
    "Failed deserializing proposal creator",
    "FORBIDDEN",
)


def system(chaincode: str, *args: bytes, channel: str = "") -> Ask:
    """A call of a system chaincode; what the peer said, "" for yes."""

    def ask(world: World, signer: X509Signer) -> str:
        status, message = world.process(signer, AT, chaincode, args, channel)
        return "" if status == 200 else message

    return ask


def lifecycle(name: str, message: object, channel: str = "") -> Ask:
    """A call of `_lifecycle`."""
    return system("_lifecycle", name.encode(), message.SerializeToString(), channel=channel)  # type: ignore[attr-defined]


def with_file(call: Callable[[bytes], Ask], name: str) -> Ask:
    """A call whose argument is a file of the house."""

    def ask(world: World, signer: X509Signer) -> str:
        return call((world.house.home / name).read_bytes())(world, signer)

    return ask


def deliver(method: str) -> Ask:
    """Block 0 by a Deliver service: at the peer, or at the orderer."""

    def ask(world: World, signer: X509Signer) -> str:
        at = "Orderer" if "AtomicBroadcast" in method else AT
        seek = ab_pb2.SeekInfo(behavior=ab_pb2.SeekInfo.FAIL_IF_NOT_READY)
        seek.start.specified.number = seek.stop.specified.number = 0
        header = protoutil.make_channel_header(
            common_pb2.DELIVER_SEEK_INFO, "payments", tls_cert_hash=world.tls_cert_hash(at)
        )
        answers = world.stream(at, method, signed(signer, header, seek.SerializeToString()), 2)
        # Both services' DeliverResponse: field 1 is a common.Status.
        status = ab_pb2.DeliverResponse.FromString(answers[-1]).status
        return "" if status == common_pb2.SUCCESS else common_pb2.Status.Name(status)

    return ask


def broadcast(world: World, signer: X509Signer) -> str:
    """A transaction that no peer takes (it holds none), to be ordered."""
    header = protoutil.make_channel_header(
        common_pb2.ENDORSER_TRANSACTION, "payments", protoutil.tx_id(b"n" * 24, signer.identity)
    )
    envelope = signed(signer, header, b"")
    answers = world.stream("Orderer", "/orderer.AtomicBroadcast/Broadcast", envelope, 1)
    answer = ab_pb2.BroadcastResponse.FromString(answers[0])
    return "" if answer.status == common_pb2.SUCCESS else common_pb2.Status.Name(answer.status)


def signed(signer: X509Signer, header: object, data: bytes) -> bytes:
    """An envelope."""
    mine = protoutil.make_signature_header(signer.identity, b"n" * 24)
    payload = protoutil.make_payload(header, mine, data).SerializeToString()
    envelope = common_pb2.Envelope(payload=payload, signature=signer.sign(payload))
    return bytes(envelope.SerializeToString())


def package_id(world: World) -> str:
    """Of the package the house installed, as the chaincode's server has been told."""
    config = world.house.home / "chaincode" / AT / "server.json"
    return str(json.loads(config.read_text())["chaincode_id"])


def take_out(world: World, signer: X509Signer) -> str:
    """The installed package's bytes."""
    args = lifecycle_pb2.GetInstalledChaincodePackageArgs(package_id=package_id(world))
    return lifecycle("GetInstalledChaincodePackage", args)(world, signer)


def approve(world: World, signer: X509Signer) -> str:
    """The definition of a chaincode that nobody commits, on the peer alone."""
    args = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        name="other",
        version="1",
        sequence=1,
        source=lifecycle_pb2.ChaincodeSource(
            local_package=lifecycle_pb2.ChaincodeSource.Local(package_id=package_id(world))
        ),
    )
    return lifecycle("ApproveChaincodeDefinitionForMyOrg", args, "payments")(world, signer)


ASKS: dict[str, Ask] = {
    "join a channel (cscc JoinChain)": with_file(
        lambda block: system("cscc", b"JoinChain", block), "channel/genesis.block"
    ),
    "install (_lifecycle InstallChaincode)": with_file(
        lambda package: lifecycle(
            "InstallChaincode",
            lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package),
        ),
        "chaincode/clearline.tar.gz",
    ),
    "see what is installed (_lifecycle QueryInstalledChaincodes)": lifecycle(
        "QueryInstalledChaincodes", lifecycle_pb2.QueryInstalledChaincodesArgs()
    ),
    "take a package out (_lifecycle GetInstalledChaincodePackage)": take_out,
    "approve (_lifecycle ApproveChaincodeDefinitionForMyOrg)": approve,
    "see the approval (_lifecycle QueryApprovedChaincodeDefinition)": lifecycle(
        "QueryApprovedChaincodeDefinition",
        lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs(name="clearline"),
        "payments",
    ),
    "endorse a commit (_lifecycle CommitChaincodeDefinition)": lifecycle(
        "CommitChaincodeDefinition",
        lifecycle_pb2.CommitChaincodeDefinitionArgs(name="clearline", version="2", sequence=2),
        "payments",
    ),
    "see channels (cscc GetChannels)": system("cscc", b"GetChannels"),
    "see the ledger's height (qscc GetChainInfo)": system(
        "qscc", b"GetChainInfo", CHANNEL, channel="payments"
    ),
    "read blocks (Deliver)": deliver("/protos.Deliver/Deliver"),
    "read filtered blocks (DeliverFiltered)": deliver("/protos.Deliver/DeliverFiltered"),
    "propose (Endorser ProcessProposal)": system(
        "clearline", b"GetRecords", b'[["entity","x"]]', channel="payments"
    ),
    "have a transaction ordered (AtomicBroadcast Broadcast)": broadcast,
    "read blocks at the orderer (AtomicBroadcast Deliver)": deliver(
        "/orderer.AtomicBroadcast/Deliver"
    ),
}
# What an allowed caller is told where what it asks for is there already, or has no majority.
_ANSWERED: Sequence[str] = (
    "already exists",
    "already successfully installed",
    "chaincode definition not agreed to by this org",
    "role_forbidden: ",  # the contract's word: the peer let it through
)


@pytest.mark.parametrize(("what", "caller"), CELLS)
def test_cell(world: World, what: str, caller: str) -> None:
    said = ASKS[what](world, world.signer(PEOPLE[caller]))
    if caller in table.PEER[what]:
        assert said == "" or any(one in said for one in _ANSWERED), said
    else:
        assert any(one in said for one in _DENIED), said


def test_every_row_is_asked() -> None:
    assert list(ASKS) == list(table.PEER)
