"""The disk is full, or a sync fails, under the outbox and under a committer's store.

No root, no mounts: writes and syncs of the one process fail by seccomp or by RLIMIT_FSIZE (see
inject/faults_inside.py). A failed write is never taken for a written one.
"""

import errno
import sys
import time
from pathlib import Path

import pytest
from fault_load import Load, Till
from faulty_house import FaultyHouse, wait_until

sys.path.append(str(Path(__file__).with_name("inject")))

from faults_inside import can_fail_calls

LIMITED_SECONDS = 1.0


@pytest.mark.skipif(not can_fail_calls(), reason="system calls can be made to fail on Linux only")
def test_a_full_disk_and_a_failed_sync_end_a_connector(faulty: FaultyHouse) -> None:
    """Each says why and ends; the next one goes on."""
    happening = {
        "connector-unionpay": ({"pwrite64": errno.ENOSPC}, "database or disk is full"),
        "connector-qr_wallet": ({"fsync": errno.EIO, "fdatasync": errno.EIO}, "disk I/O error"),
    }
    with Load(faulty.house.merchant_dir, "full") as load:
        load.more()
        before = {name: faulty.process(name) for name in happening}
        begun = {name: len(faulty.log(name)) for name in happening}
        for name, (fails, _) in happening.items():
            faulty.order(name, fails=fails)
        for name, (_, words) in happening.items():
            faulty.wait_back(before[name])
            said = faulty.log(name)[begun[name] :]
            assert f"outbox.db: the outbox can't be written: {words}" in said
        load.more()


@pytest.mark.skipif(not can_fail_calls(), reason="system calls can be made to fail on Linux only")
def test_a_committer_whose_syncs_fail_ends(faulty: FaultyHouse) -> None:
    """It takes nothing that it can't keep, and the next one goes on; payments go by the other
    gateway meanwhile."""
    name, home = "committer-bankone", faulty.house.merchant_dir
    with Load(home, "unsynced") as load, Till.opened(home) as till:
        load.more()
        numbers = till.add("unkept", [("unionpay", "tok_approve")])
        compact = till.sign(till.intent(numbers[0]))
        begun, before = len(faulty.log(name)), faulty.process(name)
        faulty.order(name, fails={"fsync": errno.EIO, "fdatasync": errno.EIO})
        answer = faulty.post(0, compact, Prefer="respond-async")
        faulty.wait_back(before)
        said = faulty.log(name)[begun:]
        assert "Error: the queue's store failed: disk I/O error" in said
        if answer.status_code == 503:
            assert answer.json()["code"] == "ledger_unavailable"
        else:  # the load had ended the sick one before this came: the next one took it
            assert answer.status_code in (201, 202), answer.text
            wait_until(lambda: ended(faulty, numbers[0]), 20, "what was taken ends by itself")
        load.more()
        assert not till.finish(numbers).open
        assert till.statuses(numbers) == ["paid"]


def ended(faulty: FaultyHouse, order_no: str) -> bool:
    """Whether the gateway shows it as succeeded, nobody having posted it again."""
    shown = faulty.shown(0, order_no)
    return shown.status_code == 200 and shown.json()["status"] == "succeeded"


@pytest.mark.parametrize("name", ["committer-banktwo", "connector-unionpay"])
def test_files_that_may_not_grow_for_a_while(faulty: FaultyHouse, name: str) -> None:
    """Not even its log can be written meanwhile. Portable: RLIMIT_FSIZE."""
    with Load(faulty.house.merchant_dir, f"limited-{name}") as load:
        load.more()
        before = faulty.process(name)
        faulty.order(name, file_bytes=0)
        time.sleep(LIMITED_SECONDS)  # the fault itself
        now = faulty.process(name)
        # Either it lives and refuses, and there is room again, or it ends, maybe only now.
        if now.id != before.id or not faulty.reached(name, file_bytes=None):
            faulty.wait_back(before)
        load.more()
