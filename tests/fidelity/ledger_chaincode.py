"""A chaincode on our shim that does all a chaincode can: the same server for both kinds of peer.

Run as a program it serves: ledger_chaincode.py --config server.json
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from chaincode.server import ChaincodeServer
from chaincode.settings import load_settings
from chaincode.shim.errors import ShimError
from chaincode.shim.stub import Stub
from chaincode.shim.wire import KeyValue, Response


class Answer(Exception):  # noqa: N818 - a result
    def __init__(self, response: Response) -> None:
        super().__init__(response.message)
        self.response = response


async def put(stub: Stub, *pairs: str) -> object:
    """Write key=value pairs; a key alone is deleted."""
    for pair in pairs:
        key, _, value = pair.partition("=")
        if value:
            stub.put_state(key, value.encode())
        else:
            stub.delete_state(key)
    return len(pairs)


async def get(stub: Stub, *keys: str) -> object:
    return [value and value.decode() for value in await stub.get_states(keys)]


async def add(stub: Stub, key: str, amount: str) -> object:
    """Read, then write: of two in one block the second conflicts. Tells it by an event."""
    value = int(await stub.get_state(key) or b"0") + int(amount)
    stub.put_state(key, str(value).encode())
    stub.set_event("added", f"{key}={value}".encode())
    return value


def shown(item: KeyValue) -> list[str]:
    return [item.key, item.value.decode()]


async def span(stub: Stub, start: str, end: str, write_to: str = "") -> object:
    """A whole range; its size is written when a key is given."""
    async with await stub.range(start, end) as found:
        items = [shown(item) async for item in found]
    if write_to:
        stub.put_state(write_to, str(len(items)).encode())
    return items


async def first(stub: Stub, start: str, end: str, write_to: str) -> object:
    """Only the first of a range: the peer has read further than the chaincode."""
    async with await stub.range(start, end) as found:
        async for item in found:
            stub.put_state(write_to, item.value)
            return shown(item)
    return None


async def page(stub: Stub, start: str, end: str, size: str, bookmark: str = "") -> object:
    found = await stub.range_page(start, end, int(size), bookmark)
    return [[shown(item) for item in found.items], found.bookmark]


async def page_then_put(stub: Stub, key: str) -> object:
    """What Fabric refuses."""
    await stub.range_page("", "", 2)
    stub.put_state(key, b"late")
    return None


async def tag(stub: Stub, kind: str, *parts: str) -> object:
    """Write under a composite key."""
    from chaincode.shim.keys import composite_key

    stub.put_state(composite_key(kind, parts), "/".join(parts).encode())
    return None


async def tagged(stub: Stub, kind: str, *parts: str) -> object:
    async with await stub.composite_range(kind, parts) as found:
        return [item.value.decode() async for item in found]


async def history(stub: Stub, key: str) -> object:
    async with await stub.history(key) as found:
        return [
            [item.tx_id, item.value.decode(), item.is_delete, item.timestamp.isoformat()]
            async for item in found
        ]


async def lock(stub: Stub, key: str, policy: str = "") -> object:
    """Give a key its own endorsement policy (hex of a SignaturePolicyEnvelope); empty: none."""
    stub.set_validation_parameter(key, bytes.fromhex(policy))
    return None


async def locked(stub: Stub, key: str) -> object:
    policy = await stub.get_validation_parameter(key)
    return policy and policy.hex()


async def answer(stub: Stub, status: str, text: str) -> object:
    """Write, and answer a status of its own."""
    stub.put_state("answer", text.encode())
    raise Answer(Response(int(status), b"payload", text))


async def who(stub: Stub) -> object:
    identity = stub.identity
    return [identity.msp_id, dict(sorted(identity.attributes.items())), stub.timestamp.isoformat()]


Function = Callable[..., Awaitable[object]]
FUNCTIONS: dict[str, Function] = {
    item.__name__: item
    for item in (
        put, get, add, span, first, page, page_then_put, tag, tagged, history, lock, locked,
        answer, who,
    )
}  # fmt: skip


class LedgerChaincode:
    """The functions above, by name; arguments are text, answers JSON."""

    async def invoke(self, stub: Stub) -> Response:
        name, *arguments = (argument.decode() for argument in stub.args)
        function = FUNCTIONS.get(name)
        if function is None:
            return Response(404, message=f"there is no function {name}")
        try:
            return Response(200, json.dumps(await function(stub, *arguments)).encode())
        except Answer as given:
            return given.response
        except ShimError as error:
            return Response(500, message=f"refused: {error}")


async def main(settings: Path) -> None:
    server = ChaincodeServer(load_settings(settings), LedgerChaincode())
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[2])))
