"""The crash run's chaincode: amounts added to accounts, each item once.

    Add [{"id": text, "account": text, "amount": number}, ...]

answers a list of {"code": "ok" | "duplicate", "total": number}. The ledger holds `item/<id>` (the
transaction that applied it) and `account/<name>` (a total): an item applied twice, or in part,
shows as totals that its items don't add up to. Serve: `python tally_chaincode.py server.json`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from chaincode.server import ChaincodeServer
from chaincode.settings import load_settings
from chaincode.shim.stub import Stub
from chaincode.shim.wire import Response


class Tally:
    """The contract."""

    async def invoke(self, stub: Stub) -> Response:
        """Apply the items in order, over an overlay of the batch's own writes."""
        if stub.args[0] != b"Add":
            return Response(500, message="no such function")
        items = json.loads(stub.args[1])
        names = list(dict.fromkeys(name for item in items for name in _keys(item)))
        values = dict(zip(names, await stub.get_states(names), strict=True))
        outcomes, written = [], {}
        for item in items:
            record, account = _keys(item)
            total = int(values[account] or b"0")
            if values[record] is not None:
                outcomes.append({"code": "duplicate", "total": total})
                continue
            total += item["amount"]
            values[record] = json.dumps([stub.tx_id, item["account"], item["amount"]]).encode()
            values[account] = str(total).encode()
            written.update({record: values[record], account: values[account]})
            outcomes.append({"code": "ok", "total": total})
        for key, value in written.items():
            stub.put_state(key, value or b"")
        return Response(200, json.dumps(outcomes).encode())


def _keys(item: dict[str, str]) -> tuple[str, str]:
    return f"item/{item['id']}", f"account/{item['account']}"


async def main(path: Path) -> None:
    server = ChaincodeServer(load_settings(path), Tally())
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
