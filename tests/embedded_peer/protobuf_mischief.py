"""Bytes that are almost right: valid messages cut, flipped, stuffed, or replaced."""

import random
from collections.abc import Callable, Iterator

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer

Mutation = Callable[[bytes], bytes]


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """One damage to a message's bytes."""
    kind = chance.randrange(6)
    at = chance.randrange(len(raw) + 1)
    if kind == 0:
        return raw[:at]
    if kind == 1:
        return chance.randbytes(chance.randrange(60))
    if kind == 2:
        return raw[:at] + chance.randbytes(chance.randrange(1, 8)) + raw[at:]
    if kind == 3:
        return raw[:at] + raw[min(len(raw), at + chance.randrange(1, 9)) :]
    if kind == 4:
        return raw + raw
    flipped = bytearray(raw or b"\0")
    for _ in range(chance.randrange(1, 4)):
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def damaged_proposals(
    signer: X509Signer, channel: str, chaincode: str, args: list[bytes], chance: random.Random
) -> Iterator[bytes]:
    """SignedProposals whose signature is right and whose content is damaged, one layer each."""
    while True:
        _, raw = protoutil.make_chaincode_proposal(channel, chaincode, args, signer.identity)
        message = proposal_pb2.Proposal.FromString(raw)
        layer = chance.randrange(8)
        header = common_pb2.Header.FromString(message.header)
        channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(message.payload)
        invocation = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input)
        if layer == 0:
            channel_header.extension = mutated(channel_header.extension, chance)
        elif layer == 1:
            channel_header.type = chance.randrange(-1, 12)
            channel_header.timestamp.seconds = chance.randrange(-(2**62), 2**62)
        elif layer == 2:
            payload.input = mutated(payload.input, chance)
        elif layer == 3:
            given = invocation.chaincode_spec.input.args
            given[chance.randrange(len(given))] = chance.randbytes(chance.randrange(2000))
            payload.input = invocation.SerializeToString()
        elif layer == 4:
            payload.TransientMap["key"] = chance.randbytes(100)
        elif layer == 7:
            invocation.chaincode_spec.chaincode_id.name = chance.choice(["", "cscc", "other"])
            if chance.randrange(2):
                invocation.chaincode_spec.ClearField("chaincode_id")
            payload.input = invocation.SerializeToString()
        if layer < 2:
            header.channel_header = channel_header.SerializeToString()
        elif layer == 5:
            header.channel_header = mutated(header.channel_header, chance)
        elif layer == 6:
            header.signature_header = mutated(header.signature_header, chance)
        message.header = header.SerializeToString()
        message.payload = payload.SerializeToString()
        yield protoutil.sign_proposal(signer, message.SerializeToString()).SerializeToString()
