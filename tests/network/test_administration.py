"""Endorsing by chosen peers: those that are a block behind, and those that refuse."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from fabric_protos.peer import proposal_response_pb2

from network.administration import AdministrationError, endorse


@dataclass
class Peer:
    """Answers in turn, the last answer for good."""

    node: str
    answers: list[tuple[int, bytes]]
    asked: int = 0

    async def process(self, step: str, signed_proposal: Any) -> Any:
        status, payload = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        response = proposal_response_pb2.ProposalResponse(payload=payload)
        response.response.status = status
        response.response.message = "no such definition"
        response.endorsement.endorser = self.node.encode()
        return response


def test_a_peer_that_is_behind_is_asked_again() -> None:
    level = Peer("level", [(200, b"new")])
    behind = Peer("behind", [(200, b"old"), (200, b"old"), (200, b"new")])
    envelope = asyncio.run(endorse("commit", b"", None, [level, behind]))
    assert (level.asked, behind.asked) == (3, 3)
    assert b"level" in envelope.payload
    assert b"behind" in envelope.payload
    assert b"old" not in envelope.payload


def test_a_peer_that_refuses_is_named() -> None:
    peers = [Peer("one", [(200, b"new")]), Peer("two", [(500, b"")])]
    with pytest.raises(AdministrationError, match="two: commit: no such definition") as refused:
        asyncio.run(endorse("commit", b"", None, peers))
    assert refused.value.status == 500
