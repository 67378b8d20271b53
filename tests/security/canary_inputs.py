"""Card numbers into everything a gateway, and a command line, is given.

`Run` keeps what was said of each.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import forged_jws as forge
import links
import parties
from canaries import Canaries
from parties import OWNER
from security_world import Web, World

from clearline import bearer, intents, jws, refunds, times, webhooks
from clearline.acquirer_health import Health, HealthReport, parse_answer
from clearline.house import command
from clearline.house.layout import KNOWN, MERCHANT_ID
from clearline.intents import CLOSE, PAY, Route
from clearline.schema import Members

# What the house's UnionPay acquirer calls the merchant, in each of its answers.
SAID_BY_ACQUIRER = Canaries().new("")
BY_ACQUIRER = "the merchant's name in an acquirer's answers"
ROUTE = ("acquirer_id", "merchant_code", "payer_token")

# What reads, and what any of them takes in its query; a member that one does not know it refuses.
READS = (
    "/v1/payments", "/v1/payments/x", "/v1/payments/x/refunds", "/v1/payments/x/refunds/1",
    "/v1/payments/x/receipts", "/v1/settlements", "/v1/settlements/unionpay/C1/CNY/2026-11-23/01",
    "/v1/events", "/v1/webhooks", "/v1/webhooks/hook", "/v1/gateway",
)  # fmt: skip
QUERIES = (
    "attempt",
    "min_block",
    "limit",
    "cursor",
    "status",
    "clearing_date",
    "refund_no",
    "memo",
)
PATHS = (
    "/v1/payments/{}", "/v1/payments/{}/x", "/v1/payments/{}/refunds", "/v1/payments/{}/refunds/1",
    "/v1/payments/x/refunds/{}", "/v1/payments/{}/receipts?attempt=1",
    "/v1/settlements/{}/C1/CNY/2026-11-23/01", "/v1/settlements/unionpay/{}/CNY/2026-11-23/01",
    "/v1/settlements/unionpay/C1/{}/2026-11-23/01", "/v1/settlements/unionpay/C1/CNY/{}/01",
    "/v1/settlements/unionpay/C1/CNY/2026-11-23/{}", "/v1/webhooks/{}", "/v1/events/{}",
    "/{}", "/docs/{}", "/problems/{}",
)  # fmt: skip


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
    yield from signed_variants(run, f"{via} intent", PAY, compact, signer)
    for name in ROUTE:
        where = f"{via} intent /acquirers/0/{name}"
        route = payload["acquirers"][0] | {name: run.canaries.short(where)}
        yield where, forge.with_payload(compact, signer, acquirers=[route])
    where = f"{via} intent, grouped"
    number = new(where)
    grouped = " ".join(number[i : i + 4] for i in range(0, 16, 4))
    yield where, forge.with_payload(compact, signer, store=grouped)
    yield (
        f"{via} intent, dashes",
        forge.with_payload(compact, signer, order_no=new(f"{via} intent, dashes") + "-1"),
    )


def refund_variants(run: Run, via: str, of: intents.PayIntent, signer: jws.KeySigner) -> Iterator[
    tuple[str, str]
]:  # fmt: skip
    """The same for a refund of this payment."""
    compact = refunds.sign(parties.refund(of), signer)
    return signed_variants(run, f"{via} refund", refunds.REFUND, compact, signer)


def close_variants(run: Run, via: str, of: intents.PayIntent, signer: jws.KeySigner) -> Iterator[
    tuple[str, str]
]:  # fmt: skip
    """The same for a close of this payment."""
    compact = intents.sign(parties.close(of), signer)
    return signed_variants(run, f"{via} close", CLOSE, compact, signer)


def signed_variants(
    run: Run, what: str, shape: Members, compact: str, signer: jws.KeySigner
) -> Iterator[tuple[str, str]]:
    """(where, compact text): the card number in each member of a sound object of this shape, in
    its header, beside and instead of them; signed soundly."""
    new = run.canaries.new
    for name in shape.members:
        where = f"{what} /{name}"
        yield where, forge.with_payload(compact, signer, **{name: new(where)})
        yield where, forge.with_payload(compact, signer, **{name: int(new(f"{where} number"))})
    for where, members in (
        (f"{what}, an unknown member", {"memo": new(f"{what}, an unknown member")}),
        (f"{what}, a member's name", {new(f"{what}, a member's name"): 1}),
        (f"{what}, deep inside", {"memo": [{"a": new(f"{what}, deep inside")}]}),
    ):
        yield where, forge.with_payload(compact, signer, **members)
    for name in ("alg", "kid", "typ", "memo"):
        where = f"{what} header {name}"
        yield where, forge.headed(compact, signer, **{name: new(where)})
    yield f"{what}, whole", new(f"{what}, whole")
    where = f"{what}, not JSON"
    yield where, forge.resigned(forge.parts(compact)[0], f"not JSON {new(where)}", signer)


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
    for where, compact in close_variants(run, "post", wanted, signer):
        keep(run, where, one.post(compact))
    for where, compact in refund_variants(run, "post", wanted, signer):
        keep(run, where, post_refund(two, wanted.order_no, compact))
    where = "post refund, its address"
    sound = refunds.sign(parties.refund(wanted), signer)
    keep(run, where, post_refund(two, run.canaries.new(where), sound))
    compacts = [
        *pay_variants(run, "batch", wanted, signer),
        *close_variants(run, "batch", wanted, signer),
        *refund_variants(run, "batch", wanted, signer),
    ]
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


def post_refund(web: Web, order_no: str, compact: str) -> Any:
    """POST /v1/payments/{order_no}/refunds."""
    jose = {"Content-Type": "application/jose"}
    return web.ask("POST", f"/v1/payments/{order_no}/refunds", data=compact, headers=jose)


def keep(run: Run, where: str, response: Any) -> None:
    """Keep an HTTP answer: status line, headers and body."""
    head = f"{response.status_code} {response.reason} {dict(response.headers)}".encode()
    run.answer(where, head + response.content, response.status_code >= 400)


def in_requests(world: World, run: Run) -> None:
    """Paths, queries, headers, tokens, methods, and what is no HTTP."""
    web, new = world.web[0], run.canaries.new
    mine = web.token(parties.MERCHANT, OWNER)
    for path in READS:
        for name in QUERIES:
            where = f"query {name} of {path}"
            keep(run, where, web.ask("GET", path, params={name: new(where)}, headers=mine))
        where = f"a query's name, of {path}"
        keep(run, where, web.ask("GET", path, params={new(where): "1"}, headers=mine))
    for path in PATHS:
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


def in_links(world: World, run: Run) -> None:
    """Each member of what BankOne's connector tells a gateway of its quiet acquirer. A reason is
    for people, and taken without what looks like a card number; all else is refused."""
    sound = asdict(HealthReport(world.network, parties.ONE, "canary", Health.DEGRADED, "", 0))
    for name in (*sound, "memo"):
        for form in ("text", "number", "among words"):
            where = f"link /{name}, {form}"
            number = run.canaries.new(where)
            changed = {"text": number, "number": int(number), "among words": f"no {number}, sorry"}
            line = json.dumps(sound | {name: changed[form]}).encode() + b"\n"
            said = links.told(world, 0, "BankOne", "connector", line)
            taken = name == "reason" and form != "number"
            run.answer(where, said, (parse_answer(said) == "") is taken)
            if taken and form == "among words":
                run.answer(f"{where}, as it is shown", shown_by(world.web[0], "sorry"), True)
    line = json.dumps({run.canaries.new("link, a member's name"): 1}).encode() + b"\n"
    said = links.told(world, 0, "BankOne", "connector", line)
    run.answer("link, a member's name", said, parse_answer(said) != "")


def shown_by(web: Web, word: str) -> bytes:
    """What a gateway shows everybody of the acquirers, once this word is in it: what it was told
    last takes it a moment."""
    end = time.monotonic() + 4
    while word.encode() not in (shown := web.ask("GET", "/v1/gateway").content):
        assert time.monotonic() < end, shown
        time.sleep(0.05)  # between two looks, not in place of one
    return bytes(shown)


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
    entity = {
        "entity_id": "E-C",
        "name": f"Card {new('bank document')}",
        "country": "CN",
        "registration_no": "R-C",
    }
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
