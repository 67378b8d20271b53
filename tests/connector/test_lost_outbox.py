"""An outbox that is new knows nothing of what was sent: its connector takes the next epoch first.

Whatever an earlier self had on its way is then refused by the ledger, and what it may have sent is
asked about or reversed.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from benches import BENCHES, UNIONPAY, Bench, Payer
from fake_ledger import Called, FakeLedger
from helpers_connector import World, agree, child, connected, setup, until

from chaincode.contract.context import Role
from clearline import reports
from clearline.fabric.blockstream import Position
from clearline.fabric.errors import FabricError
from clearline.intents import PaymentKey
from clearline.records import Kind, Lease
from clearline.reports import Report, acquirer_reference
from clearline.statuses import Reason, ReportKind, Status
from connector.lease import Candidate, Claims, Standing
from connector.ledger import Ledger
from connector.service import Parts

EACH = pytest.mark.parametrize("bench", BENCHES.values(), ids=lambda bench: str(bench.acquirer_id))


@EACH
def test_one_that_lost_its_outbox_sends_nothing_again(tmp_path: Path, bench: Bench) -> None:
    """Killed when the acquirer has the payment and the ledger no report of it: nothing on the
    ledger tells the next one that it has forgotten. A report of the earlier self comes later."""
    world, ledger = setup(tmp_path, bench)

    async def run() -> None:
        async with bench.serve(world.folder):
            parts = world.named(world.parts(world.ledger(), world.adapter()), "a")
            async with child(world, "a"):
                token = world.bench.tokens[Payer.PAYS_SLOWLY]
                (sent,) = world.request(ledger, world.intent(1, token))
                reference = acquirer_reference(sent, world.place.network)
                await until(lambda: reference in bench.book(world.folder))
            parts.outbox.unlink()
            async with connected(parts):
                await ledger.until_final([sent])
                (later,) = world.request(ledger, world.intent(2))
                await ledger.until_final([later])
                late = _reported(world, ledger, replace(_unknown(world, ledger, sent), sequence=9))
                assert late == "lease_lost"
        assert ledger.record(Kind.LEASE, bench.acquirer_id)["epoch"] == 1
        assert Claims(parts.claims.path).read() == 1
        assert ledger.payment(later).status == "succeeded"
        assert ledger.payment(sent).status == ("succeeded" if bench.responds else "closed")
        agree(world, ledger)

    asyncio.run(run())


def _unknown(world: World, ledger: FakeLedger, key: PaymentKey) -> Report:
    payment = ledger.payment(key)
    return Report(
        ReportKind.UNKNOWN, world.place.network, world.place.acquirer_id, *payment.key,
        payment.intent_digest, 1, Status.UNKNOWN, Reason.TIMED_OUT, payment.amount,
        payment.currency, acquirer_reference(payment.key, world.place.network),
    )  # fmt: skip


def _reported(world: World, ledger: FakeLedger, report: Report) -> str:
    """What the earlier self, under no epoch, is told of a report that it still had on its way."""
    item = {"report": reports.sign(report, world.bank_signer), "epoch": 0}
    (outcome,) = ledger.call("SubmitReports", [item], Role.CONNECTOR)
    return outcome.code.value


@dataclass
class Failing(Called):
    """A contract that can't be reached for the first `times`; `asked` is set at the first."""

    times: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def submit(self, name: str, *args: bytes | str) -> bytes:
        self.asked.set()
        if self.times:
            self.times -= 1
            raise FabricError("no answer", "tx", "unknown")
        return await super().submit(name, *args)


@dataclass
class Opened:
    """The ledger with another contract."""

    ledger: FakeLedger
    contract: Failing

    @asynccontextmanager
    async def __call__(self, position: Position | None) -> AsyncIterator[Ledger]:
        async with self.ledger.opened(position) as ledger:
            yield replace(ledger, contract=self.contract)


def renewing(world: World, times: int) -> tuple[Parts, Failing]:
    """A connector with a new outbox whose first `times` tries to renew the lease fail."""
    shutil.rmtree(world.folder / "connector", ignore_errors=True)
    ledger = world.ledger()
    contract = Failing(ledger, times)
    parts = world.parts(ledger, world.adapter(), open_ledger=Opened(ledger, contract))
    parts.outbox.unlink()
    return parts, contract


def test_nothing_is_forwarded_before_the_lease_is_renewed(tmp_path: Path) -> None:
    """Stopped between the claim and the ledger's yes, it goes on where it was."""
    world, ledger = setup(tmp_path, UNIONPAY)

    async def run() -> None:
        async with UNIONPAY.serve(world.folder):
            parts, contract = renewing(world, 1_000)
            assert parts.ready_file is not None
            async with connected(parts):
                await until(contract.asked.is_set)
                (key,) = world.request(ledger, world.intent(1))
            assert (parts.claims.read(), ledger.record(Kind.LEASE, "unionpay")) == (1, None)
            assert not parts.ready_file.exists()
            assert (world.book(), ledger.payment(key).status) == ({}, Status.REQUESTED)
            contract.times = 1
            async with connected(parts):
                await until(parts.ready_file.exists)
                (later,) = world.request(ledger, world.intent(2))
                await ledger.until_final([key, later])
            async with connected(parts):  # once is enough
                await until(parts.ready_file.exists)
        assert ledger.record(Kind.LEASE, "unionpay")["epoch"] == 1
        assert ledger.payment(key).status == "closed"  # nothing proves that nobody sent it
        assert ledger.payment(later).status == "succeeded"
        agree(world, ledger)

    asyncio.run(run())


def test_one_that_is_there_before_its_acquirer_renews_once_that_is_registered(
    tmp_path: Path,
) -> None:
    world = World.make(tmp_path)
    ledger = world.ledger()

    async def run() -> None:
        async with UNIONPAY.serve(world.folder):
            parts, _ = renewing(world, 0)
            async with connected(parts):
                ledger.append(world.registered())
                await until(lambda: ledger.record(Kind.LEASE, "unionpay") is not None)
                (key,) = world.request(ledger, world.intent(1))
                await ledger.until_final([key])
        agree(world, ledger)

    asyncio.run(run())


def test_a_new_standby_renews_nothing(tmp_path: Path) -> None:
    world, ledger = setup(tmp_path, UNIONPAY)

    async def run() -> None:
        async with UNIONPAY.serve(world.folder):
            parts, contract = renewing(world, 0)
            parts = replace(parts, candidate=Candidate("b", stands_by=True))
            assert parts.standby_file is not None
            async with connected(parts):
                await until(parts.standby_file.exists)
            assert not contract.asked.is_set()
        assert ledger.record(Kind.LEASE, "unionpay") is None

    asyncio.run(run())


LEASE = Lease("unionpay", 3, "a", "BankOne")


@pytest.mark.parametrize(
    ("lease", "claimed", "forgotten", "standing"),
    [
        (None, 0, None, Standing(0)),
        (None, 0, 0, Standing(0, 1)),
        (None, 1, 0, Standing(0, 1)),  # claimed, and not on the ledger yet
        (LEASE, 3, None, Standing(3)),
        (LEASE, 3, 2, Standing(3)),
        (LEASE, 3, 3, Standing(3, 4)),
        (LEASE, 4, 3, Standing(3, 4)),
        (LEASE, 0, 2, Standing(3, 4)),  # of our name, but by whom?
        (LEASE, 2, 2, Standing(None)),  # somebody of our name has taken it since
        (replace(LEASE, holder="b"), 3, 2, Standing(None)),
        (replace(LEASE, holder="b"), 4, 3, Standing(None)),
    ],
)
def test_which_epoch_to_take_first(
    lease: Lease | None, claimed: int, forgotten: int | None, standing: Standing
) -> None:
    assert Candidate("a").standing(lease, claimed, forgotten) == standing
    assert standing.acts_under == (None if standing.renewal else standing.epoch)
