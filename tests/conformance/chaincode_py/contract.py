"""The suite's chaincode on our own shim; node/chaincode.js and go/chaincode hold the same.

Functions take text arguments and answer bytes:

    get key | put key value | delete key       one key; `get` of none answers nothing
    putThenGet key value                       what a read after a write in one transaction shows
    add key amount                             read, then write the sum, and an event `added`
    fill prefix count                          prefix0000, prefix0001, ...
    range start end                            [[key, value], ...]
    countInto start end key                    counts a range and writes the number
    page start end size bookmark               {"items": [key, ...], "bookmark": text}
    pageThenPut start end key                  a write in a transaction that paged
    compositePut type parts value              parts: JSON list
    compositeRange type parts                  [[type, [part, ...], value], ...]
    history key                                [[tx id, value, is delete], ...]
    event name payload                         an event and no write
    lock key policy | locked key               a key's own endorsement policy, in Base64
    fail message                               an error of the contract
    status code message                        a write, then this status with a payload
    failAt organization                        an error at that organisation's server only
    organization                               the server's organisation: endorsers differ
    sleep milliseconds
    putSecretDigest key                        writes SHA-256 of the transient value `secret`
    whoami                                     [MSP id, attribute clearline.role or null]
    transaction                                [channel, tx id, [argument in Base64, ...]]
    richQuery                                  a query that only CouchDB knows
    getMany key... | putBatch key...           several keys in one message (not in the Node shim)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaincode.shim import keys
from chaincode.shim.iterators import ResultIterator
from chaincode.shim.stub import Stub
from chaincode.shim.wire import KeyValue, Response

OK = b"ok"


class ContractError(Exception):
    """The contract says no: answered as status 500 with this text."""


@dataclass(frozen=True)
class Conformance:
    """The contract, served for one organisation."""

    served_for: str

    async def invoke(self, stub: Stub) -> Response:
        """Answer one transaction."""
        name, *args = (arg.decode() for arg in stub.args)
        if name == "status":
            stub.put_state("status", args[1].encode())
            return Response(int(args[0]), b"payload", args[1])
        function = FUNCTIONS.get(name)
        try:
            if name in ("organization", "failAt"):
                return Response(200, self._local(*args))
            if function is None:
                raise ContractError(f"no such function: {name}")
            return Response(200, await function(stub, *args))
        except ContractError as error:
            return Response(500, message=str(error))

    def _local(self, refused: str = "") -> bytes:
        if not refused:
            return self.served_for.encode()
        if refused == self.served_for:
            raise ContractError(f"refused by {refused}")
        return OK


async def get(stub: Stub, key: str) -> bytes:
    return await stub.get_state(key) or b""


async def put(stub: Stub, key: str, value: str) -> bytes:
    stub.put_state(key, value.encode())
    return OK


async def delete(stub: Stub, key: str) -> bytes:
    stub.delete_state(key)
    return OK


async def put_then_get(stub: Stub, key: str, value: str) -> bytes:
    stub.put_state(key, value.encode())
    await stub.flush()
    return await get(stub, key)


async def add(stub: Stub, key: str, amount: str) -> bytes:
    total = str(int(await get(stub, key) or b"0") + int(amount)).encode()
    stub.put_state(key, total)
    stub.set_event("added", key.encode())
    return total


async def fill(stub: Stub, prefix: str, count: str) -> bytes:
    for index in range(int(count)):
        stub.put_state(f"{prefix}{index:04}", f"{index:04}".encode())
    return count.encode()


async def pairs(iterator: ResultIterator[KeyValue]) -> list[list[str]]:
    async with iterator:
        return [[entry.key, entry.value.decode()] async for entry in iterator]


async def value_range(stub: Stub, start: str, end: str) -> bytes:
    return json.dumps(await pairs(await stub.range(start, end))).encode()


async def count_into(stub: Stub, start: str, end: str, key: str) -> bytes:
    count = str(len(await pairs(await stub.range(start, end)))).encode()
    stub.put_state(key, count)
    return count


async def page(stub: Stub, start: str, end: str, size: str, bookmark: str) -> bytes:
    found = await stub.range_page(start, end, int(size), bookmark)
    answer = {"items": [item.key for item in found.items], "bookmark": found.bookmark}
    return json.dumps(answer).encode()


async def page_then_put(stub: Stub, start: str, end: str, key: str) -> bytes:
    await page(stub, start, end, "2", "")
    return await put(stub, key, "late")


async def composite_put(stub: Stub, kind: str, parts: str, value: str) -> bytes:
    return await put(stub, keys.composite_key(kind, json.loads(parts)), value)


async def composite_range(stub: Stub, kind: str, parts: str) -> bytes:
    found = await pairs(await stub.composite_range(kind, json.loads(parts)))
    return json.dumps([[*keys.split_composite_key(key), value] for key, value in found]).encode()


async def history(stub: Stub, key: str) -> bytes:
    async with await stub.history(key) as entries:
        found = [[item.tx_id, item.value.decode(), item.is_delete] async for item in entries]
    return json.dumps(found).encode()


async def event(stub: Stub, name: str, payload: str) -> bytes:
    stub.set_event(name, payload.encode())
    return OK


async def lock(stub: Stub, key: str, policy: str) -> bytes:
    stub.set_validation_parameter(key, base64.b64decode(policy))
    return OK


async def locked(stub: Stub, key: str) -> bytes:
    return base64.b64encode(await stub.get_validation_parameter(key) or b"")


async def fail(stub: Stub, message: str) -> bytes:
    raise ContractError(message)


async def sleep(stub: Stub, milliseconds: str) -> bytes:
    await asyncio.sleep(int(milliseconds) / 1000)
    return OK


async def put_secret_digest(stub: Stub, key: str) -> bytes:
    return await put(stub, key, hashlib.sha256(stub.transient["secret"]).hexdigest())


async def whoami(stub: Stub) -> bytes:
    role = stub.identity.attribute("clearline.role")
    return json.dumps([stub.identity.msp_id, role]).encode()


async def transaction(stub: Stub, *_: str) -> bytes:
    args = [base64.b64encode(arg).decode() for arg in stub.args]
    return json.dumps([stub.channel_id, stub.tx_id, args]).encode()


async def get_many(stub: Stub, *names: str) -> bytes:
    return json.dumps([(value or b"").decode() for value in await stub.get_states(names)]).encode()


async def put_batch(stub: Stub, *names: str) -> bytes:
    for name in names:
        stub.put_state(name, name.encode())
    return OK


FUNCTIONS: dict[str, Callable[..., Awaitable[bytes]]] = {
    "get": get,
    "put": put,
    "delete": delete,
    "putThenGet": put_then_get,
    "add": add,
    "fill": fill,
    "range": value_range,
    "countInto": count_into,
    "page": page,
    "pageThenPut": page_then_put,
    "compositePut": composite_put,
    "compositeRange": composite_range,
    "history": history,
    "event": event,
    "lock": lock,
    "locked": locked,
    "fail": fail,
    "sleep": sleep,
    "putSecretDigest": put_secret_digest,
    "whoami": whoami,
    "transaction": transaction,
    "getMany": get_many,
    "putBatch": put_batch,
}
