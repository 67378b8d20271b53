"""The peer's three Deliver methods, served over this room's blocks."""

import asyncio
from typing import Any

import certificate_kit as kit
import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    configuration_pb2,
    events_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from orderer_world import CHANNEL, STATUS, World

from clearline.fabric import protoutil
from network.embedded import wire
from network.embedded.channelconfig import Bundle
from network.embedded.deliver import Height, block_event_access, peer_service
from network.embedded.filtered import FilterError, filtered_block

TYPE = common_pb2.HeaderType


def _transaction(event: Any) -> bytes:
    action = proposal_pb2.ChaincodeAction(
        events=event.SerializeToString() if event is not None else b""
    )
    response = proposal_response_pb2.ProposalResponsePayload(extension=action.SerializeToString())
    endorsed = transaction_pb2.ChaincodeEndorsedAction(
        proposal_response_payload=response.SerializeToString()
    )
    payload = transaction_pb2.ChaincodeActionPayload(action=endorsed)
    transaction = transaction_pb2.Transaction(
        actions=[transaction_pb2.TransactionAction(payload=payload.SerializeToString())]
    )
    return bytes(transaction.SerializeToString())


def _envelope(kind: int, tx_id: str, data: bytes) -> bytes:
    payload = protoutil.make_payload(
        protoutil.make_channel_header(kind, CHANNEL, tx_id),
        protoutil.make_signature_header(b"", b""),
        data,
    )
    return bytes(common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString())


def _block(data: list[bytes], flags: bytes, number: int = 7) -> bytes:
    return bytes(
        common_pb2.Block(
            header=common_pb2.BlockHeader(number=number),
            data=common_pb2.BlockData(data=data),
            metadata=common_pb2.BlockMetadata(metadata=[b"", b"", flags, b"", b""]),
        ).SerializeToString()
    )


EVENT = chaincode_event_pb2.ChaincodeEvent(
    chaincode_id="clearline", tx_id="one", event_name="payments.v1", payload=b"secret"
)


def test_a_filtered_block_carries_no_payload() -> None:
    raw = _block(
        [
            _envelope(TYPE.ENDORSER_TRANSACTION, "one", _transaction(EVENT)),
            b"\xff\xff",  # Fabric leaves out what isn't an envelope
            _envelope(TYPE.ENDORSER_TRANSACTION, "two", _transaction(None)),
            _envelope(TYPE.CONFIG, "", b"anything"),
        ],
        bytes([0, 254, 11, 0]),
    )
    filtered = events_pb2.FilteredBlock.FromString(filtered_block(raw))
    assert (filtered.number, filtered.channel_id) == (7, CHANNEL)
    one, two, config = filtered.filtered_transactions
    assert (one.txid, one.tx_validation_code) == ("one", 0)
    (action,) = one.transaction_actions.chaincode_actions
    assert action.chaincode_event.event_name == "payments.v1"
    assert action.chaincode_event.tx_id == "one"
    assert action.chaincode_event.payload == b""
    assert (two.txid, two.tx_validation_code) == ("two", 11)
    assert two.WhichOneof("Data") == "transaction_actions"
    assert not two.transaction_actions.chaincode_actions
    assert (config.type, config.WhichOneof("Data")) == (TYPE.CONFIG, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff",
        _block([_envelope(TYPE.ENDORSER_TRANSACTION, "x", b"\xff\xff")], b"\0"),
        _block([common_pb2.Envelope(payload=b"\xff").SerializeToString()], b"\0"),
    ],
    ids=["no block", "no transaction", "no payload"],  # the bytes hold the time of day
)
def test_blocks_that_cannot_be_filtered(raw: bytes) -> None:
    with pytest.raises(FilterError):
        filtered_block(raw)


class FixedBlocks:
    """A block source that holds what it is given."""

    def __init__(self, bundle: Bundle, blocks: list[bytes]) -> None:
        self.bundle = bundle
        self._blocks = blocks
        self._height = Height(len(blocks))

    @property
    def height(self) -> int:
        return self._height.value

    def block(self, number: int) -> bytes:
        return self._blocks[number]

    async def wait_above(self, number: int) -> None:
        await self._height.wait_above(number)


def test_the_services_of_a_peer(world: World) -> None:
    reader = world.signer("BankTwo", "connector")
    good = _block([_envelope(TYPE.ENDORSER_TRANSACTION, "one", _transaction(EVENT))], b"\0", 1)
    bad = _block([_envelope(TYPE.ENDORSER_TRANSACTION, "x", b"\xff\xff")], b"\0", 2)
    source = FixedBlocks(Bundle.from_config_block(world.genesis), [world.genesis, good, bad])

    async def read(channel: Any, method: str, request: bytes) -> list[Any]:
        call = channel.unary_stream(f"/protos.Deliver/{method}")(request)
        return [events_pb2.DeliverResponse.FromString(raw) async for raw in call]

    async def scenario() -> None:
        service = peer_service(lambda name: source if name == CHANNEL else None)
        server = wire.Server("127.0.0.1:0", world.tls(), world.orderer_roots, (service,))
        # The server's certificate here is BankOne's gateway's; Supervisor's clients may connect.
        port = await server.start()
        tls = world.tls("Supervisor", "auditor")
        roots = (world.home.organization("BankOne") / "tlsca" / "cert.pem").read_bytes()
        async with wire.channel(f"127.0.0.1:{port}", roots, tls, "localhost") as channel:
            full = await read(channel, "Deliver", world.seek(reader, 0, 1, tls=tls))
            assert [item.WhichOneof("Type") for item in full] == ["block", "block", "status"]
            assert full[1].block.SerializeToString() == good
            filtered = await read(channel, "DeliverFiltered", world.seek(reader, 1, 2, tls=tls))
            kinds = [item.WhichOneof("Type") for item in filtered]
            assert kinds == ["filtered_block", "status", "status"]
            assert filtered[0].filtered_block.filtered_transactions[0].txid == "one"
            assert [item.status for item in filtered[1:]] == [STATUS.BAD_REQUEST, STATUS.SUCCESS]
            stranger = kit.signer(kit.make_authority("BankOne"), "BankOne", kit.Leaf())
            for method in ("Deliver", "DeliverFiltered"):
                (refused,) = await read(channel, method, world.seek(stranger, 0, 1, tls=tls))
                assert refused.status == STATUS.FORBIDDEN
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read(channel, "DeliverWithPrivateData", world.seek(reader, 0, 1, tls=tls))
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
            assert "private data" in (caught.value.details() or "")
        await server.stop(0)

    asyncio.run(scenario())


def test_access_lists_of_the_configuration(world: World) -> None:
    def change(config: Any) -> None:
        acls = configuration_pb2.ACLs()
        acls.acls["event/Block"].policy_ref = "Admins"
        acls.acls["event/FilteredBlock"].policy_ref = "/Channel/Admins"
        group = config.channel_group.groups["Application"]
        group.values["ACLs"].value = acls.SerializeToString()

    bundle = Bundle.from_config_block(world.reconfigured(change))
    assert block_event_access(bundle) == "/Channel/Application/Admins"
    assert bundle.acl("event/FilteredBlock", "") == "/Channel/Admins"
