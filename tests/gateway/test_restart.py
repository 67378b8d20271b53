"""The committer goes and comes back: nothing stored is lost, and the workers go on."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers_gateway import Site, new_intent, open_site, signed, token, until

from clearline.fabric.blocks import BlockError


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """One of its own: these tests stop the committer."""
    with open_site(tmp_path, commit_wait_s=2) as opened:
        yield opened


def test_without_a_committer_posts_are_503_and_reads_go_on(site: Site) -> None:
    intent = new_intent()
    assert site.post(signed(intent)).status_code == 201
    site.committer.stop()
    answer = site.post(signed())
    assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert site.batch([signed()]).status_code == 503
    assert site.get(f"/v1/payments/{intent.order_no}").status_code == 200
    assert site.post(signed(intent)).status_code == 200  # it is in the projection
    ready = site.client.get("/readyz")
    assert (ready.status_code, ready.json["committer"]) == (503, False)
    site.committer.start()
    until(lambda: site.client.get("/readyz").status_code == 200)
    assert site.post(signed()).status_code == 201


def test_what_was_received_is_committed_after_a_restart(site: Site) -> None:
    intent, refused = new_intent(), new_intent(order_no="code-already_succeeded.r")
    site.ledger.down()
    receipts = [
        site.post(signed(item), Prefer="respond-async").json["receipt"]
        for item in (intent, refused)
    ]
    site.committer.stop()
    path = f"/v1/payments/{intent.order_no}"
    assert site.get(path).json["receipt"] == receipts[0]
    site.committer.start()
    assert site.get(path).json["receipt"] == receipts[0]
    again = site.post(signed(intent), Prefer="respond-async")
    assert again.json["receipt"] == receipts[0]
    site.ledger.up()
    until(lambda: site.get(path).json["status"] == "requested")
    until(lambda: site.get(f"/v1/payments/{refused.order_no}").status_code == 404)
    assert "already_succeeded" in site.get(f"/v1/payments/{refused.order_no}").json["detail"]


def test_a_post_that_waits_while_the_committer_stops_is_503(site: Site) -> None:
    site.ledger.down()
    answers: list[Any] = []
    intent = new_intent()
    thread = threading.Thread(
        target=lambda: answers.append(site.post(signed(intent), Prefer="wait=20"))
    )
    thread.start()
    until(lambda: site.client.get("/readyz").json.get("waiting") == 1)
    site.committer.stop()
    thread.join(10)
    (answer,) = answers
    assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")
    site.ledger.up()
    site.committer.start()
    assert site.post(signed(intent)).status_code == 201


def test_blocks_made_while_it_was_away_are_caught_up(site: Site) -> None:
    intent = new_intent()
    site.post(signed(intent))
    site.committer.stop()
    block = site.ledger.finish(intent.key)
    site.committer.start()
    answer = site.get(f"/v1/payments/{intent.order_no}?min_block={block}")
    assert (answer.status_code, answer.json["status"]) == (200, "succeeded")


def test_the_projection_can_be_made_again_with_the_same_pages(site: Site) -> None:
    site.batch([signed() for _ in range(5)])
    before = site.get("/v1/payments").json
    cursor = site.get("/v1/payments?limit=2").json["next_cursor"]
    page = site.get(f"/v1/payments?limit=2&cursor={cursor}").json["payments"]
    site.committer.stop()
    for path in site.settings.data_dir.glob("projection.db*"):
        path.unlink()
    site.app.extensions["clearline"].reader._forget()
    site.committer.start()
    until(lambda: site.client.get("/readyz").status_code == 200)
    assert site.get("/v1/payments").json == before
    assert site.get(f"/v1/payments?limit=2&cursor={cursor}").json["payments"] == page


def test_a_projection_of_another_ledger_stops_the_committer(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    site.committer.stop()
    with open_site(tmp_path_factory.mktemp("other")) as other:
        other.committer.stop()
        for path in other.settings.data_dir.glob("projection.db*"):
            path.unlink()
        stolen = sqlite3.connect(other.settings.projection)
        with closing(sqlite3.connect(site.settings.projection)) as source, closing(stolen):
            source.backup(stolen)
        with pytest.raises(BlockError, match="another network, or another history"):
            other.committer.start()
            other.ledger.run(_task_of(other))
        for path in other.settings.data_dir.glob("projection.db*"):
            path.unlink()
        other.committer.start()
    site.committer.start()
    assert site.get("/v1/payments", **token()).status_code == 200


async def _task_of(site: Site) -> None:
    await site.committer._task
