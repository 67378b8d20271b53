"""Who has expired, was revoked, or has just come: both kinds of peer draw the same line at the
same block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import certificate_kit as kit
import grpc
import pytest
from config_kit import update_envelope
from cryptography.hazmat.primitives.serialization import Encoding
from fabric_programs import needs_fabric
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import ab_pb2
from fidelity_world import (
    CHAINCODE,
    CHANNEL,
    FOLLOWED,
    PATIENCE,
    Follower,
    Net,
    block,
    level,
    slots,
)
from pokes import PROCESS, Pair, peers, tls_roots, user_tls

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer
from network import certificates as issuing
from network.channelpolicies import one_of
from network.embedded import wire
from network.topology import Engine

pytestmark = [needs_fabric, pytest.mark.slow]

EVALUATE, ENDORSE = "/gateway.Gateway/Evaluate", "/gateway.Gateway/Endorse"
STREAMS = ("/protos.Deliver/Deliver", "/protos.Deliver/DeliverFiltered")
NEWCOMER = "BankThree"
FORBIDDEN = b"\x08\x93\x03"
"""A DeliverResponse with the status 403."""
FAILED = "failed to {} transaction, see attached details for more info"


def authority(net: Net) -> kit.Authority:
    return kit.stored_authority(net.home.organization(FOLLOWED) / "ca")


def proposal(signer: X509Signer, timestamp: datetime | None = None) -> Any:
    """A signed proposal to read a key."""
    fields: dict[str, Any] = {}
    if timestamp is not None:
        fields["timestamp_ns"] = int(timestamp.timestamp() * 1e9)
    header = protoutil.make_channel_header
    tx_id, raw = protoutil.make_chaincode_proposal(
        CHANNEL, CHAINCODE, [b"get", b"k"], signer.identity
    )
    if fields:
        from fabric_protos.peer import proposal_pb2

        message = proposal_pb2.Proposal.FromString(raw)
        outer = common_pb2.Header.FromString(message.header)
        old = common_pb2.ChannelHeader.FromString(outer.channel_header)
        new = header(old.type, CHANNEL, tx_id, extension=old.extension, **fields)
        outer.channel_header = new.SerializeToString()
        message.header = outer.SerializeToString()
        raw = message.SerializeToString()
    return protoutil.sign_proposal(signer, raw)


def seek(signer: X509Signer, tls: wire.TlsIdentity) -> bytes:
    """From the newest block on, for ever."""
    info = ab_pb2.SeekInfo(behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY)
    info.start.newest.SetInParent()
    info.stop.specified.number = 2**64 - 1
    envelope = protoutil.create_signed_envelope(
        common_pb2.HeaderType.DELIVER_SEEK_INFO,
        CHANNEL,
        signer,
        info.SerializeToString(),
        tls_cert_hash=wire.certificate_hash(tls.certificate),
    )
    return bytes(envelope.SerializeToString())


async def expect(pair: Pair, method: str, message: Any, code: str, text: str) -> None:
    """Both answer with this status, and a text that holds this one."""
    real, embedded = await pair.both(method, message.SerializeToString())
    assert real == embedded
    assert real[0] == code
    assert text in real[1]


@pytest.mark.parametrize("late", ["expired", "clock"])
def test_a_proposal_that_the_filters_stop(follower: Follower, late: str) -> None:
    """They answer nothing but an error, which the gateway takes for a peer out of reach: Evaluate
    goes on to other peers (apiutils.go responseStatus)."""
    net, now = follower.net, datetime.now(UTC)
    signed = proposal(net.signer(FOLLOWED, "gateway"), now - timedelta(minutes=20))
    text = "request unauthorized due to incorrect timestamp"
    if late == "expired":
        leaf = kit.Leaf(start=now - timedelta(hours=1), end=now - timedelta(seconds=1))
        signed = proposal(kit.signer(authority(net), FOLLOWED, leaf))
        text = "proposal client identity expired"

    async def main() -> None:
        evaluate = gateway_pb2.EvaluateRequest(proposed_transaction=signed)
        endorse = gateway_pb2.EndorseRequest(proposed_transaction=signed)
        async with peers(follower) as pair:
            await expect(pair, PROCESS, signed, "UNKNOWN", text)
            await expect(pair, EVALUATE, evaluate, "UNAVAILABLE", FAILED.format("evaluate"))
            await expect(pair, ENDORSE, endorse, "ABORTED", FAILED.format("endorse"))

    asyncio.run(main())


async def open_streams(pair: Pair, signer: X509Signer, tls: wire.TlsIdentity) -> list[Any]:
    """A stream of each kind at each peer, its first block read."""
    calls: list[Any] = []
    for channel in (pair.real, pair.embedded):
        for method in STREAMS:
            call: Any = channel.stream_stream(method)()
            await call.write(seek(signer, tls))
            assert (await call.read())[:1] != b"\x08"
            calls.append(call)
    return calls


async def last_words(call: Any) -> bytes:
    """The first status that a stream answers."""
    while (answer := bytes(await call.read()))[:1] != b"\x08":
        pass
    return answer


async def ends(net: Net, calls: list[Any]) -> None:
    """With the next block every stream is refused."""
    async with asyncio.timeout(PATIENCE), net.contract("BankOne") as contract:
        await contract.submit("put", "after=1")
        assert {await last_words(call) for call in calls} == {FORBIDDEN}


def test_streams_end_with_the_certificate(follower: Follower) -> None:
    net, tls = follower.net, user_tls(follower.net, FOLLOWED)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=4)
    signer = kit.signer(authority(net), FOLLOWED, kit.Leaf(end=end))

    async def main() -> None:
        async with peers(follower) as pair:
            calls = await open_streams(pair, signer, tls)
            # The certificate's time is what is waited for.
            await asyncio.sleep((end - datetime.now(UTC)).total_seconds() + 0.1)
            await ends(net, calls)

    asyncio.run(main())


async def reconfigure(
    follower: Follower, change: Callable[[Any], None], organizations: list[str]
) -> None:
    """Change the channel, and wait until both peers have it."""
    net = follower.net
    before = await net.config()
    admins = [net.signer(name, "admin") for name in organizations]
    envelope = update_envelope(before, change, admins)
    assert await net.order(envelope.SerializeToString()) == common_pb2.Status.SUCCESS
    async with (
        asyncio.timeout(PATIENCE),
        net.administration(FOLLOWED) as own,
        follower.administration() as other,
    ):
        for peer in (own, other):
            number = before.sequence
            while number == before.sequence:
                raw = await peer.call("", "cscc", [b"GetChannelConfig", CHANNEL.encode()])
                number = configtx_pb2.Config.FromString(raw).sequence


def test_streams_end_with_a_revocation(follower: Follower) -> None:
    net, tls = follower.net, user_tls(follower.net, FOLLOWED)
    certificate, key = kit.issue(authority(net), kit.Leaf(name="leaver"))
    leaver = X509Signer(FOLLOWED, certificate.public_bytes(Encoding.PEM), key)
    revoked = kit.revocation_list(authority(net), [certificate])

    def change(config: Any) -> None:
        for kind in ("Application", "Orderer"):
            groups = config.channel_group.groups[kind].groups
            if FOLLOWED in groups:
                value = groups[FOLLOWED].values["MSP"]
                msp = msp_config_pb2.MSPConfig.FromString(value.value)
                inner = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
                inner.revocation_list.append(revoked)
                msp.config = inner.SerializeToString()
                value.value = msp.SerializeToString()

    async def main() -> None:
        signed = proposal(leaver)
        async with peers(follower) as pair:
            real, embedded = await pair.both(PROCESS, signed.SerializeToString())
            assert real == embedded
            assert real[:2] == ("OK", 200)
            calls = await open_streams(pair, leaver, tls)
            await reconfigure(follower, change, [FOLLOWED])
            await ends(net, calls)
            evaluate = gateway_pb2.EvaluateRequest(proposed_transaction=signed)
            text = f"access denied: channel [{CHANNEL}] creator org [{FOLLOWED}]"
            await expect(pair, PROCESS, signed, "UNKNOWN", text)
            await expect(pair, EVALUATE, evaluate, "FAILED_PRECONDITION", text)

    asyncio.run(main())


def test_a_new_organisations_client_is_served_at_once(follower: Follower) -> None:
    """Its TLS authority is trusted, its signature counts, and blocks are delivered to it."""
    net = follower.net
    identities = kit.make_authority(NEWCOMER)
    tlsca = issuing.create_authority(NEWCOMER, f"tlsca.{NEWCOMER.lower()}")
    issued = issuing.issue_tls(tlsca, NEWCOMER, "client", ())
    tls = wire.TlsIdentity(issued.certificate, issued.private_key)
    client = kit.signer(identities, NEWCOMER, kit.Leaf())

    def change(config: Any) -> None:
        banks = config.channel_group.groups["Application"].groups
        banks[NEWCOMER].CopyFrom(banks["BankOne"])
        del banks[NEWCOMER].values["AnchorPeers"]
        for policy in banks[NEWCOMER].policies.values():
            policy.policy.CopyFrom(one_of(NEWCOMER, "member"))
        inner = kit.msp_config(NEWCOMER, identities, tls_root_certs=[tlsca.pem])
        msp = msp_config_pb2.MSPConfig(type=0, config=inner.SerializeToString())
        banks[NEWCOMER].values["MSP"].value = msp.SerializeToString()

    async def main() -> None:
        own = net.topology.organization(FOLLOWED).peers[0]
        ends = [own.endpoint, follower.endpoint]
        roots = tls_roots(net, FOLLOWED)
        signed = proposal(client)
        early: list[Any] = [wire.channel(endpoint, roots, tls, own.name) for endpoint in ends]
        for channel in early:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(PROCESS)(signed.SerializeToString(), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await channel.close()
        await reconfigure(follower, change, ["BankOne", "BankTwo", "Supervisor"])
        pair = Pair(*(wire.channel(endpoint, roots, tls, own.name) for endpoint in ends))
        real, embedded = await pair.both(PROCESS, signed.SerializeToString())
        assert real == embedded
        assert (real[1], real[-1]) == (200, True)
        for call in await open_streams(pair, client, tls):
            call.cancel()
        await pair.real.close()
        await pair.embedded.close()

    asyncio.run(main())


def test_both_hold_the_same_blocks_after_all_this(follower: Follower) -> None:
    async def main() -> None:
        net = follower.net
        async with net.administration(FOLLOWED) as own, follower.administration() as other:
            for number in range(await level([own, other])):
                one, two = slots(await block(own, number)), slots(await block(other, number))
                if net.engine is Engine.FABRIC:
                    # Each Raft orderer signs a block itself.
                    one[1][0] = two[1][0] = b""
                assert one == two, number

    asyncio.run(main())
