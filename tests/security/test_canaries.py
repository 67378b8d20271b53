"""A card number in every field of every input: after the run none is anywhere - not on a ledger,
in a log, in a database, in an answer.

What is not scanned, by choice (docs/adr/0007): a digest, a signature, a public key of an item of
the right form. docs/trust.md says so.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forged_jws as forge
import parties
import pytest
from canaries import Canaries, files, layers
from parties import BANK_ONE, ONE, OWNER
from security_world import Answer, Web, World

from audit.source import from_peer
from clearline import bearer, intents, jws, times, webhooks
from clearline.fabric.proposal import ProposalOptions
from clearline.house import command
from clearline.house.layout import KNOWN, MERCHANT_ID
from clearline.intents import CLOSE, PAY, Route
from clearline.proposals import PROPOSALS
from clearline.reports import REPORT

ROUTE = ("acquirer_id", "merchant_code", "payer_token")


@dataclass
class Run:
    """The numbers, what was said about them, and a text that must be found."""

    canaries: Canaries
    control: str
    said: list[tuple[str, bytes]] = field(default_factory=list)
    refused: list[tuple[str, bool]] = field(default_factory=list)

    def answer(self, where: str, content: bytes, was_refused: bool) -> None:
        """Keep what somebody was told."""
        self.said.append((where, content))
        self.refused.append((where, was_refused))


def pay_variants(run: Run, via: str, wanted: intents.PayIntent, signer: jws.KeySigner) -> Iterator[
    tuple[str, str]
]:  # fmt: skip
    """(where, compact text): the card number in each member of a pay intent and its header,
    signed soundly."""
    new = run.canaries.new
    compact = intents.sign(wanted, signer)
    payload = wanted.payload()
    for name in PAY.members:
        where = f"{via} intent /{name}"
        yield where, forge.with_payload(compact, signer, **{name: new(where)})
        yield where, forge.with_payload(compact, signer, **{name: int(new(f"{where} number"))})
    for name in ROUTE:
        where = f"{via} intent /acquirers/0/{name}"
        route = payload["acquirers"][0] | {name: run.canaries.short(where)}
        yield where, forge.with_payload(compact, signer, acquirers=[route])
    for where, members in (
        (f"{via} intent, an unknown member", {"memo": new(f"{via} intent, an unknown member")}),
        (f"{via} intent, a member's name", {new(f"{via} intent, a member's name"): 1}),
        (f"{via} intent, deep inside", {"memo": [{"a": new(f"{via} intent, deep inside")}]}),
    ):
        yield where, forge.with_payload(compact, signer, **members)
    for name in ("alg", "kid", "typ", "memo"):
        where = f"{via} intent header {name}"
        yield where, forge.headed(compact, signer, **{name: new(where)})
    where = f"{via} intent, grouped"
    number = new(where)
    grouped = " ".join(number[i : i + 4] for i in range(0, 16, 4))
    yield where, forge.with_payload(compact, signer, store=grouped)
    yield (
        f"{via} intent, dashes",
        forge.with_payload(compact, signer, order_no=new(f"{via} intent, dashes") + "-1"),
    )
    yield f"{via} whole intent", new(f"{via} whole intent")
    yield (
        f"{via} intent, not JSON",
        forge.resigned(
            forge.parts(compact)[0], f"not JSON {new(f'{via} intent, not JSON')}", signer
        ),
    )


def house_intent(world: World) -> tuple[intents.PayIntent, jws.KeySigner]:
    """A payment that the house's own acquirer would make."""
    signer = jws.KeySigner.load(world.house.merchant_dir / "key.pem")
    route = Route("unionpay", KNOWN[0].merchant_code, "tok_approve")
    return parties.intent(merchant_id=MERCHANT_ID, acquirers=(route,)), signer


def at_gateways(world: World, run: Run) -> None:
    """Bodies of posts, alone and in batches, at one gateway each."""
    wanted, signer = house_intent(world)
    one, two = world.web
    for where, compact in pay_variants(run, "post", wanted, signer):
        keep(run, where, one.post(compact))
    compacts = list(pay_variants(run, "batch", wanted, signer))
    for (where, _), outcome in zip(
        compacts, two.batch([c for _, c in compacts]).json()["outcomes"], strict=True
    ):
        run.answer(where, json.dumps(outcome).encode(), outcome["payment"] is None)
    for where, body in (
        ("batch member", {run.canaries.new("batch member"): []}),
        ("batch number", {"intents": [int(run.canaries.new("batch number"))]}),
    ):
        response = two.ask("POST", "/v1/payments/batch", json=body)
        run.answer(where, response.content, "outcomes" not in response.json() or all(
            one["payment"] is None for one in response.json()["outcomes"]))  # fmt: skip


def keep(run: Run, where: str, response: Any) -> None:
    """Keep an HTTP answer: status line, headers and body."""
    head = f"{response.status_code} {response.reason} {dict(response.headers)}".encode()
    run.answer(where, head + response.content, response.status_code >= 400)


def in_requests(world: World, run: Run) -> None:
    """Paths, queries, headers, tokens, methods, and what is no HTTP."""
    web, new = world.web[0], run.canaries.new
    mine = web.token(parties.MERCHANT, OWNER)
    for name in ("attempt", "min_block", "limit", "cursor", "status", "memo"):
        for path in ("/v1/payments", "/v1/payments/x"):
            where = f"query {name} of {path}"
            keep(run, where, web.ask("GET", path, params={name: new(where)}, headers=mine))
    where = "a query's name"
    keep(run, where, web.ask("GET", "/v1/payments", params={new(where): "1"}, headers=mine))
    for path in ("/v1/payments/{}", "/v1/payments/{}/x", "/{}", "/docs/{}"):
        where = f"path {path}"
        keep(run, where, web.ask("GET", path.format(new(where)), headers=mine))
    for name in ("Prefer", "Accept", "Content-Type", "Authorization"):
        where = f"header {name}"
        headers = {"Content-Type": "application/jose"} | {name: new(where)}
        keep(run, where, web.ask("POST", "/v1/payments", data=b"x", headers=headers))
    for name in ("X-Request-Id", "User-Agent", "Referer", "Cookie", "If-None-Match", "X-Card",
                 "X-Forwarded-For", "Forwarded", "Origin", "From"):  # fmt: skip
        where = f"header {name}"
        response = web.ask("GET", "/v1/payments", headers=mine | {name: new(where)})
        run.answer(where, str(dict(response.headers)).encode() + response.content, True)
    in_tokens(web, run)
    where = "method"
    keep(run, where, web.ask(new(where), "/v1/payments"))
    for where, raw in (
        ("request line", "GET {}\r\n\r\n"),
        ("version", "GET / HTTP/{}\r\n\r\n"),
        ("broken header", "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n\r\n"),
        ("header name", "GET / HTTP/1.1\r\nHost: x\r\n{}@: 1\r\n\r\n"),
        ("host", "GET /v1/payments HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n"),
        ("length", "POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: {}x\r\n\r\n"),
        ("encoding", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {}\r\n\r\n"),
    ):
        answered = raw_request(web, raw.format(new(f"raw {where}")))
        run.answer(f"raw {where}", answered, answered.startswith(b"HTTP/1.1 4"))


def in_webhooks(world: World, run: Run) -> None:
    """Each member of a registration and of a removal, signed soundly, and its address."""
    web, new = world.web[0], run.canaries.new
    for shape, action, method in (
        (webhooks.REGISTER, webhooks.Action.REGISTER, "PUT"),
        (webhooks.REMOVE, webhooks.Action.REMOVE, "DELETE"),
    ):
        told = (webhooks.EventType.SUCCEEDED,) if method == "PUT" else ()
        sound = webhooks.Registration(
            action=action,
            network=world.network,
            audience=web.url,
            merchant_id=parties.MERCHANT,
            webhook_id="hook",
            created=times.now(),
            sequence=time.time_ns() // 1_000,
            url="https://hooks.invalid/x" if told else "",
            events=told,
        )
        compact = webhooks.sign(sound, OWNER)
        headers = {"Content-Type": "application/jose"}
        for name in (*shape.members, "memo"):
            for form in ("text", "number", "path of a URL"):
                where = f"webhook {method} /{name}, {form}"
                number = new(where)
                values = {"text": number, "number": int(number),
                          "path of a URL": f"https://hooks.invalid/{number}/x"}  # fmt: skip
                changed = forge.with_payload(compact, OWNER, **{name: values[form]})
                path = f"/v1/webhooks/{number if name == 'webhook_id' else 'hook'}"
                keep(run, where, web.ask(method, path, data=changed, headers=headers))
        where = f"webhook {method} body"
        body = new(where)
        keep(run, where, web.ask(method, "/v1/webhooks/hook", data=body, headers=headers))
    mine = web.token(parties.MERCHANT, OWNER)
    where = "webhook address"
    keep(run, where, web.ask("GET", f"/v1/webhooks/{new(where)}", headers=mine))
    where = "cursor of events"
    keep(run, where, web.ask("GET", "/v1/events", params={"cursor": new(where)}, headers=mine))


def in_tokens(web: Web, run: Run) -> None:
    """Each claim and header of a bearer token."""
    claims = {
        "iss": parties.MERCHANT,
        "sub": parties.MERCHANT,
        "aud": web.url,
        "iat": 1,
        "exp": 2,
        "jti": "x",
        "scope": "read",
    }
    for name in (*claims, "memo"):
        where = f"token {name}"
        number = run.canaries.new(where)
        changed = {"iss": number, "sub": number} if name in ("iss", "sub") else {name: number}
        token = jws.sign(claims | changed, jws.Typ.BEARER, OWNER)
        keep(run, where, web.ask("GET", "/v1/payments", headers=authorized(token)))
    sound = bearer.issue(parties.MERCHANT, web.url, OWNER)
    for name in ("alg", "kid", "typ"):
        where = f"token header {name}"
        token = forge.headed(sound, OWNER, **{name: run.canaries.new(where)})
        keep(run, where, web.ask("GET", "/v1/payments", headers=authorized(token)))


def authorized(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def raw_request(web: Web, text: str) -> bytes:
    """Bytes straight into TLS; everything that comes back."""
    host, port = web.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(web.ca))
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        secure.sendall(text.encode())
        answered = b""
        try:
            while part := secure.recv(65_536):
                answered += part
        except OSError:  # it may close without a word
            pass
    return answered


def told(run: Run, where: str, answer: Answer) -> None:
    """Keep what a peer or the contract said."""
    content = answer.said.encode() + json.dumps(answer.value).encode()
    run.answer(where, content, answer.refused == "contract")


def at_the_chaincode(world: World, run: Run) -> None:
    """By members of the right role, to be committed if anybody endorses it."""
    new = run.canaries.new
    gateway = world.user("BankOne", "gateway")

    def submit(where: str, function: str, argument: Any, who: Any = gateway) -> None:
        told(run, f"chaincode {where}", world.submit(who, function, argument))

    for where, compact in pay_variants(run, "chaincode", parties.intent(), OWNER):
        submit(where, "SubmitIntents", [{"intent": compact, "acquirer_id": ONE}])
    good = parties.item(parties.intent())
    for where, item in (
        ("item acquirer_id", good | {"acquirer_id": new("chaincode item acquirer_id")}),
        ("item member", good | {new("chaincode item member"): 1}),
        ("item", new("chaincode item")),
        ("number item", int(new("chaincode number item"))),
    ):
        submit(where, "SubmitIntents", [good, item])
    sound = intents.sign(parties.close(parties.intent()), OWNER)
    for name in CLOSE.members:
        where = f"chaincode close /{name}"
        submit(where, "SubmitIntents", [
            {"intent": forge.with_payload(sound, OWNER, **{name: new(where)})}
        ])  # fmt: skip
    in_reports(world, run, submit)
    in_records(world, run, submit)
    in_reads(run, submit)
    for where, argument in (
        ("argument", new("chaincode argument").encode()),
        ("argument that is no JSON", f"[{new('chaincode argument that is no JSON')}".encode()),
        ("argument object", {new("chaincode argument object"): 1}),
    ):
        submit(where, "SubmitIntents", argument)
    submit("function", new("chaincode function"), [])
    submit("function and argument", new("chaincode function and argument"), ["x"])


def in_reports(world: World, run: Run, submit: Any) -> None:
    """Each member of a report, and of evidence."""
    waiting = parties.requested(world)
    connector, auditor = world.user("BankOne", "connector"), world.user("Supervisor", "auditor")
    sound = parties.signed_report(waiting)
    for function, who in (("SubmitReports", connector), ("SubmitEvidence", auditor)):
        for name in (*REPORT.members, "memo"):
            where = f"chaincode {function} /{name}"
            number = (run.canaries.short if name == "merchant_code" else run.canaries.new)(where)
            compact = forge.with_payload(sound, BANK_ONE, **{name: number})
            submit(where, function, [compact], who)
        for name in ("alg", "kid", "typ"):
            where = f"chaincode {function} header {name}"
            compact = forge.headed(sound, BANK_ONE, **{name: run.canaries.new(where)})
            submit(where, function, [compact], who)
    for name in ("acquirer_id", "holder", "epoch", "memo"):
        where = f"chaincode lease {name}"
        lease = {"acquirer_id": ONE, "epoch": 1, "holder": "x"} | {name: run.canaries.new(where)}
        submit(where, "TakeLease", [lease], connector)
    where = "chaincode report's member"
    submit(where, "SubmitReports", [{"report": sound, run.canaries.new(where): 0}], connector)
    assert sound  # what is sound is never submitted


def in_records(world: World, run: Run, submit: Any) -> None:
    """Each member of each kind of proposal, and of a decision."""
    maker, checker = world.user("BankOne", "maker"), world.user("BankOne", "checker")
    new = run.canaries.new
    for kind, shape in PROPOSALS.items():
        body = sound_bodies()[kind]
        for name in (*shape.members, "memo"):
            where = f"chaincode {kind} /{name}"
            changed = body | {name: numbered(body.get(name), new(where))}
            item = {"proposal_id": parties.order_no("p"), "kind": kind, "body": changed}
            submit(where, "ProposeRecords", [item], maker)
    where = "chaincode merchant, wide digits"
    wide = new(where).translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    body = sound_bodies()["merchant"] | {"name": f"店 {wide}"}
    item = {"proposal_id": parties.order_no("p"), "kind": "merchant", "body": body}
    submit(where, "ProposeRecords", [item], maker)
    where = "chaincode entity, with dots"
    number = new(where)
    dotted = ".".join(number[i : i + 4] for i in range(0, 16, 4))
    body = sound_bodies()["entity"] | {"registration_no": dotted}
    item = {"proposal_id": parties.order_no("p"), "kind": "entity", "body": body}
    submit(where, "ProposeRecords", [item], maker)
    for name in ("proposal_id", "kind", "memo"):
        where = f"chaincode proposal {name}"
        item = {"proposal_id": "p", "kind": "entity", "body": sound_bodies()["entity"]}
        submit(where, "ProposeRecords", [item | {name: new(where)}], maker)
    for name in ("proposal_id", "decision", "memo"):
        where = f"chaincode decision {name}"
        item = {"proposal_id": "p", "decision": "approve"} | {name: new(where)}
        submit(where, "DecideRecords", [item], checker)


def sound_bodies() -> dict[str, dict[str, Any]]:
    """A body of each kind that the form takes."""
    key = {"action": "revoke", "key_id": OWNER.key_id}
    return {
        "entity": {"entity_id": "E-C", "name": "N", "country": "CN", "registration_no": "R-C"},
        "account": {"account_id": "e" * 64, "entity_id": "E-C", "bank_code": "BKONCNBJ",
                    "last4": "0001", "currency": "CNY"},
        "merchant": {"merchant_id": "M-C", "entity_id": "E-C", "account_id": "e" * 64,
                     "name": "N", "mcc": "5411", "goods_categories": ["groceries"],
                     "codes": {ONE: ["C1"]}, "keys": [OWNER.jwk]},
        "acquirer": {"acquirer_id": "a-c", "name": "N", "currencies": ["CNY"],
                     "licence_no": "L1", "licence_valid_until": "2099-12-31",
                     "keys": [BANK_ONE.jwk]},
        "merchant_code": {"merchant_id": "M-C", "acquirer_id": ONE, "code": "C1"},
        "merchant_key": {"merchant_id": "M-C"} | key,
        "acquirer_key": {"acquirer_id": ONE} | key,
        "merchant_status": {"merchant_id": "M-C", "status": "suspended"},
        "acquirer_status": {"acquirer_id": ONE, "status": "suspended"},
    }  # fmt: skip


def numbered(value: Any, number: str) -> Any:
    """The number in a value's own form: in a list, as an object's name, else as it is."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [number]
    if isinstance(value, dict):
        return {number: ["C1"]}
    return number


def in_reads(run: Run, submit: Any) -> None:
    """Reads can be submitted like anything else: their arguments would stand in a block."""
    new = run.canaries.new
    for where, function, argument in (
        ("GetPayments merchant", "GetPayments", lambda n: [[n, "o", 1]]),
        ("GetPayments order", "GetPayments", lambda n: [["M", n, 1]]),
        ("GetPayments attempt", "GetPayments", lambda n: [["M", "o", int(n)]]),
        ("GetRecords kind", "GetRecords", lambda n: [[n, "x"]]),
        ("GetRecords id", "GetRecords", lambda n: [["merchant", n]]),
        ("GetRecords part of an id", "GetRecords", lambda n: [["merchant_code", f"{ONE}/{n}"]]),
        ("GetRecords item", "GetRecords", lambda n: [n]),
        ("ListPayments merchant", "ListPayments",
         lambda n: {"merchant_id": n, "start_after": None, "limit": 1}),
        ("ListPayments after", "ListPayments",
         lambda n: {"merchant_id": "M", "start_after": [n, 1], "limit": 1}),
        ("ListPayments member", "ListPayments",
         lambda n: {"merchant_id": "M", "start_after": None, "limit": 1, n: 1}),
        ("ListProposals after", "ListProposals",
         lambda n: {"status": None, "start_after": n, "limit": 1}),
        ("ListProposals status", "ListProposals",
         lambda n: {"status": n, "start_after": None, "limit": 1}),
    ):  # fmt: skip
        submit(where, function, argument(new(f"chaincode {where}")))


def transient(world: World, run: Run) -> None:
    """What is handed to the endorsers in confidence is nobody's argument, and stays nowhere."""
    gateway = world.gateway(world.user("BankOne", "gateway"))
    contract = gateway.network("payments").contract("clearline")
    number = run.canaries.new("transient").encode()
    options = ProposalOptions(transient={"card": number, number.decode() + "x": b"1"})

    async def committed() -> bytes:
        proposal = contract.new_proposal("GetRecords", ['[["entity","x"]]'], options)
        transaction = await proposal.endorse()
        await (await transaction.submit()).status()
        return transaction.result

    run.answer("transient", world.run(committed()), was_refused=True)


def in_files(world: World, run: Run, folder: Path) -> None:
    """An order file with a number in each column, and a bank's document; by command line."""
    new = run.canaries.new
    columns = ("order_no", "amount", "currency", "store", "terminal", "goods_category", "site",
               "payer_token")  # fmt: skip
    sound = {"order_no": "c", "amount": "1.00", "currency": "CNY", "store": "s",
             "terminal": "T1", "goods_category": "groceries", "site": "shop.example",
             "payer_token": "tok_approve"}  # fmt: skip
    lines = [",".join(columns)]
    for name in columns:
        row = sound | {"order_no": f"c-{name}"} | {name: new(f"CSV {name}")}
        lines.append(",".join(row[column] for column in columns))
    (folder / "orders.csv").write_text("\n".join(lines) + "\n")
    (folder / "header.csv").write_text(f"order_no,amount,{new('CSV header')}\n1,1.00,x\n")
    merchant = ("merchant", "--home", world.house.merchant_dir)
    entity = sound_bodies()["entity"] | {"name": f"Card {new('bank document')}"}
    (folder / "entity.json").write_text(json.dumps(entity))
    maker = world.house.profile("BankOne", "maker")
    for where, words in (
        ("CSV", (*merchant, "import", folder / "orders.csv", "--json")),
        ("CSV header", (*merchant, "import", folder / "header.csv")),
        ("merchant order", (*merchant, "order", new("merchant order"), "1.00")),
        ("bank document", ("bank", "propose", "entity", folder / "entity.json",
                           "--profile", maker)),
    ):  # fmt: skip
        done = subprocess.run(
            command.argv(*words), capture_output=True, timeout=60, check=False, cwd=folder
        )
        run.answer(where, done.stdout + done.stderr, done.returncode != 0)


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of it once, beside a payment that is looked for too."""
    made = Run(Canaries(), parties.order_no("control"))
    wanted, signer = house_intent(world)
    control = intents.sign(
        parties.intent(merchant_id=MERCHANT_ID, acquirers=wanted.acquirers, store=made.control,
                       expires_at=times.after(times.now(), 900)),
        signer,
    )  # fmt: skip
    assert world.web[0].post(control, Prefer="wait=20").json()["status"] == "succeeded"
    at_gateways(world, made)
    in_requests(world, made)
    in_webhooks(world, made)
    at_the_chaincode(world, made)
    transient(world, made)
    in_files(world, made, tmp_path_factory.mktemp("canary-files"))
    return made


def test_every_input_is_refused(run: Run) -> None:
    """Each one, whoever sends it: nobody endorses it, no gateway takes it."""
    assert len(run.refused) > 250
    assert [where for where, was_refused in run.refused if not was_refused] == []


def test_no_answer_repeats_it(run: Run) -> None:
    repeated = [where for where, content in run.said if run.canaries.found(content)]
    assert repeated == []


def test_nothing_in_the_house_holds_it(world: World, run: Run) -> None:
    """Ledgers, state, queues, outboxes, projections, order book, acquirer's book, logs."""
    held = {
        (str(path.relative_to(world.house.home)), where)
        for path, content in files(world.house.home)
        for where in run.canaries.found(content)
    }
    assert held == set()


def blocks(world: World, msp: str) -> list[bytes]:
    """Every block of an organisation's peer, as Deliver sends it."""

    async def all_of_them() -> list[bytes]:
        user = "auditor" if msp == "Supervisor" else "gateway"
        return [raw async for raw in from_peer(world.profile(msp, user))]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("msp", ["BankOne", "BankTwo", "Supervisor"])
def test_no_block_holds_it(world: World, run: Run, msp: str) -> None:
    found = [run.canaries.found(raw) for raw in blocks(world, msp)]
    assert len(found) > 10
    assert set().union(*found) == set()


def test_the_search_finds_what_is_there(world: World, run: Run) -> None:
    """The control payment's store stands in its signed intent only, in base64url: the search
    sees it in every ledger, in the merchant's order book's neighbour, the gateway's projection."""
    marker = run.control.encode()
    holding = {
        path.relative_to(world.house.home).parts[:2]
        for path, content in files(world.house.home)
        if any(marker in text for text in layers(content, 1))
    }
    for node in ("peer0.bankone", "peer0.banktwo", "peer0.supervisor", "orderer0"):
        assert ("nodes", node) in holding
    assert ("rooms", "gateway-banktwo") in holding
    assert ("rooms", "connector-unionpay") in holding
    assert not any(marker in content for _, content in files(world.house.home / "nodes"))


def test_the_numbers_are_found_however_they_are_wrapped() -> None:
    canaries = Canaries()
    number = canaries.new("here").encode()
    once = jws.encode(b'{"a":"' + number + b'"}').encode()
    for content in (
        b"x" + number + b"y",
        b"99" + number,
        once,
        b"pad" + once,
        jws.encode(b'{"intent":"' + once + b'"}').encode(),
    ):
        assert canaries.found(content) == {"here"}
    assert canaries.found(b"4111111111111111") == set()
