"""A peer that is behind fails no clerk: what was not applied is asked again, for a bounded time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from bank_lag import Beaten, Peers
from bank_world import Chain
from test_bank_documents import BODIES

from bank import connection, desk
from bank.desk import Decision
from bank.documents import draft
from bank.patience import Patience, PatientLedger
from clearline.codes import Code
from clearline.fabric.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    GrpcFailure,
    SubmitError,
)

RECORDS = [draft(kind, BODIES[kind]) for kind in ("entity", "account", "merchant")]
QUICK = Patience(disagreeing=20.0, missing=20.0, pause=0.001)
BRIEF = Patience(disagreeing=0.02, missing=0.02, pause=0.001)


@pytest.mark.parametrize("endorsers", ["own and behind", "behind"])
def test_the_checker_comes_before_the_makers_block(endorsers: str) -> None:
    peers = Peers(lag=3)
    maker = PatientLedger(peers.as_("maker"), QUICK)
    checker = PatientLedger(peers.as_("checker", endorsers=endorsers), QUICK)
    results = asyncio.run(desk.apply(maker, checker, RECORDS, QUICK))
    assert [(item.done, item.outcome.code) for item in results] == [(True, Code.OK)] * 3
    assert peers.tries == 1 + 4  # the checker's fourth call meets level peers
    assert ("merchant", "M-1") in peers.own.records


def test_a_read_at_a_peer_that_is_behind_finds_the_record() -> None:
    peers = Peers(lag=0)
    maker, checker = peers.as_("maker"), peers.as_("checker")
    asyncio.run(desk.apply(maker, checker, RECORDS, QUICK))
    peers.lag, peers.asked = 3, 0
    found = asyncio.run(desk.record(peers.as_("clerk"), "entity", "E-1", QUICK))
    assert found == BODIES["entity"]


def test_only_what_is_missing_is_decided_again() -> None:
    chain = Chain()
    asyncio.run(desk.propose(chain.as_("maker"), RECORDS[:1]))
    names = [RECORDS[0].proposal_id, "nobody"]
    answers = asyncio.run(desk.decide(chain.as_("checker"), names, Decision.APPROVE, BRIEF))
    assert [answer.code for answer in answers] == [Code.OK, Code.PROPOSAL_UNKNOWN]
    assert len(chain.calls) > 2


def test_a_faster_transaction_costs_a_second_try() -> None:
    chain = Chain()
    ledger = PatientLedger(Beaten(chain.as_("maker")), QUICK)
    (outcome,) = asyncio.run(desk.propose(ledger, RECORDS[:1]))
    assert outcome.code is Code.OK


def _failure(code: grpc.StatusCode, message: str) -> GrpcFailure:
    return GrpcFailure(code, message)


class _Failing:
    def __init__(self, error: Exception) -> None:
        self.error, self.calls = error, 0

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        self.calls += 1
        raise self.error

    evaluate = submit


def test_peers_that_never_agree_are_told_of() -> None:
    never = _failure(grpc.StatusCode.ABORTED, "ProposalResponsePayloads do not match")
    ledger = _Failing(EndorseError("Endorse", "ab", "not_applied", never))
    with pytest.raises(EndorseError, match="do not match"):
        asyncio.run(PatientLedger(ledger, BRIEF).submit("ProposeRecords", b"[]"))
    assert ledger.calls > 1


@pytest.mark.parametrize(
    "error",
    [
        EndorseError(
            "Endorse", "ab", "not_applied",
            _failure(grpc.StatusCode.ABORTED, "chaincode response 403, role_forbidden: no"),
        ),
        EndorseError("Endorse", "ab", "not_applied", _failure(grpc.StatusCode.UNAVAILABLE, "no")),
        SubmitError("Submit", "ab", "unknown", _failure(grpc.StatusCode.UNAVAILABLE, "gone")),
        CommitStatusError("CommitStatus", "ab", "unknown", _failure(grpc.StatusCode.ABORTED, "x")),
        CommitError("ab", 9, 7),  # a copy with this id may have been applied
        CommitError("ab", 10, 7),  # the endorsement policy: no peer is merely behind
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:48],
)  # fmt: skip
def test_nothing_else_is_asked_twice(error: Exception) -> None:
    ledger = _Failing(error)
    with pytest.raises(type(error)):
        asyncio.run(PatientLedger(ledger, QUICK).submit("ProposeRecords", b"[]"))
    assert ledger.calls == 1


def test_the_desk_s_connection_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = Beaten(Chain().as_("maker"))

    class Network:
        def contract(self, _: str) -> Beaten:
            return contract

    class Gateway:
        def network(self, _: str) -> Network:
            return Network()

    @asynccontextmanager
    async def connect(_: object) -> AsyncIterator[Gateway]:
        yield Gateway()

    class Loaded:
        channel, chaincode = "payments", "clearline"

    monkeypatch.setattr("bank.connection.Gateway.connect", connect)
    monkeypatch.setattr("bank.connection.Profile.load", lambda _: Loaded())

    async def propose() -> None:
        async with connection.connected(Path("maker.json")) as ledger:
            (outcome,) = await desk.propose(ledger, RECORDS[:1])
            assert outcome.code is Code.OK

    asyncio.run(propose())
