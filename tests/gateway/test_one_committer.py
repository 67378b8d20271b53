"""One committer a gateway: a second one over the same store is refused, and harms nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

from helpers_gateway import Process, new_intent, signed, until
from helpers_served import Served, open_served


def second(served: Served) -> Process:
    """Another committer with the same settings."""
    config = str(served.folder / "settings.json")
    return Process(served.folder, "second", "committer", "--config", config)


def test_a_second_committer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """Posts go on meanwhile: its socket stays the first one's. After a kill -9 the next gets in at
    once, and knows what the first has stored."""
    with open_served(tmp_path) as served:
        intents = [new_intent() for _ in range(3)]
        assert served.post(signed(intents[0])).status_code == 201
        refused = second(served)
        refused.start()
        assert refused.wait() == 1
        said = refused.log.read_text().strip().splitlines()[-1]
        queue = served.folder / "data" / "queue.db"
        assert said == f"Error: {queue} is in use by another process"
        assert served.post(signed(intents[1])).status_code == 201

        served.ledger.down()
        received = served.post(signed(intents[2]), Prefer="respond-async")
        assert received.status_code == 202
        served.committer.kill()
        next_one = second(served)
        next_one.start()
        try:
            served.ledger.up()
            until(lambda: served.post(signed(intents[2])).status_code == 200, 20)
        finally:
            assert next_one.stop() == 0
        with closing(sqlite3.connect(queue)) as db:
            states = db.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall()
        assert states == [("done", 3)]
        served.committer.start()
