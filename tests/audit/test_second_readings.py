"""What the auditor reads with code of its own, it reads as the contract does.

Both are given the same odd things, made by a seeded generator of single faults in sound items; a
fault that one takes and the other doesn't is a false finding, or a forgery that nobody names.
"""

from __future__ import annotations

import ast
import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import contract_world as w
import pytest
from contract_world import NOW, USUAL, Ledger
from cryptography.hazmat.primitives.asymmetric import ec
from rule_rows import ACCEPTED, DECLINED, PAN, reported
from rules_of_clearing import ADJUSTMENT, FILING, PART, PAYOUT, filed, ruling, stated
from rules_of_relations import AGENT, ending, relation
from rules_of_supervision import CHECKPOINT, rule, withdrawal
from samples import INTENT

import audit
from audit import cards, model
from audit.draft import Refused
from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, canonical, digest, strict_json
from audit.keys import key_record
from audit.membership import Identity
from audit.model import Model
from chaincode.contract.context import Submitter
from chaincode.contract.functions import FUNCTIONS, Writer
from clearline import canonical as ledger_json
from clearline import jws, times
from clearline.canonical import CanonicalError
from clearline.cards import holds_card_number
from clearline.changes import AccountChange
from clearline.codes import Refusal
from clearline.jws import JwsError, KeySigner, Typ
from clearline.records import EVENT
from clearline.reports import acquirer_reference

WIDE_PAN = PAN.translate({0x30 + digit: 0xFF10 + digit for digit in range(10)})
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 9999, 10000, 10**12 - 1, 10**12, 2**31 - 1, 2**31, 2**53),
    *("", " ", "x", ".", "..", "a/b", "x" * 33, "x" * 65, "x" * 129, "é", "\u200b", "x\ny", "1"),
    *(PAN, f"a-{PAN}", WIDE_PAN, "3782-822463-10005", "6011 0000 0000 0004", "0" * 64, "0" * 63),
    *(
        "CNY",
        "XXX",
        "key",
        "account",
        "2026-11-24",
        "2027-02-21",
        "2027-02-22",
        "pay",
        "close",
        "ok",
        "CN",
        "5411",
        "2026-11-23",
        "2026-02-30",
        "Ed25519",
    ),
    *("2026-11-23T08:00:00.000Z", "2026-11-23T08:00:00Z", "2026-11-31T08:00:00.000Z"),
    *("2026-11-23T08:05:30.001Z", "2026-11-23T08:00:30.000Z", "2026-11-23T24:00:00.000Z"),
    *([], [1], ["x"], [[]], {}, {"x": 1}, {PAN: "x"}, [{"x": [PAN]}]),
)
ACCOUNT_CHANGE = AccountChange(
    *(w.NETWORK, INTENT.merchant_id, w.OTHER_ACCOUNT, "BKONCNBJ", "0002"),
    *("2026-11-23T08:00:00.000Z", "2026-11-24"),
)
# A first version, its successor, and one of each other kind.
RULES = (
    rule(),
    withdrawal(),
    rule(kind="names_of_code", parameters={"names": 2}),
    rule(kind="places_of_code", parameters={"stores": 1, "terminals": 2, "sites": 3}),
    rule(kind="register_mismatch", parameters={"payments": 0}),
    rule(kind="money_kept", parameters={"stated_days": 1, "paid_days": 3}),
    rule(kind="payout_returned", parameters={"days": 2}),
    rule(kind="adjustment_share", parameters={"basis_points": 500, "least": 0}),
    rule(kind="refund_share", parameters={"basis_points": 5000, "least": 10000}),
    rule(kind="left_open", parameters={"days": 366}),
)
CLEARED = (FILING, ADJUSTMENT, PART, PAYOUT)
OWN = acquirer_reference(INTENT.key, w.NETWORK)


def faulty(chance: random.Random, value: Any) -> Any:
    """The value with one fault, at a random depth."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(sorted(value))
        how = chance.random()
        if how < 0.15:
            return {one: inner for one, inner in value.items() if one != name}
        if how < 0.3:
            return value | {chance.choice(("x", "é", PAN, "created", "jwk")): chance.choice(ODD)}
        return value | {name: faulty(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.9:
        index = chance.randrange(len(value))
        if chance.random() < 0.2:
            return [*value, value[index]]
        return [*value[:index], faulty(chance, value[index]), *value[index + 1 :]]
    return chance.choice(ODD)


def signed(chance: random.Random, payload: Any, typ: Typ, signer: KeySigner) -> str:
    """A signed object whose payload, header or text has a fault, or none."""
    header = {"alg": signer.algorithm.value, "kid": signer.key_id, "typ": typ.value}
    text = canonical(payload)
    how = chance.random()
    if how < 0.1:
        header = faulty(chance, header)
    elif how < 0.2:
        spoilt = (
            b"\xff",
            b" ",
            b"1.0",
            b"-0",
            b'"\\ud800"',
            b"[" * 40 + b"]" * 40,
            b'{"x":1,"x":1}',
        )
        text = text.replace(b":", b":" + chance.choice((b" ", *spoilt)), 1)
    elif how < 0.8:
        text = canonical(faulty(chance, payload))
    message = f"{jws.encode(canonical(header))}.{jws.encode(text)}"
    signature = jws.encode(signer.sign(message.encode()))
    if how > 0.95:
        signature = chance.choice(("", "A", signature[:-1], signature + "A", "=", "AAAA"))
    return f"{message}.{signature}"


def items(chance: random.Random) -> Iterator[tuple[str, Any]]:
    """Items of every function, each with a fault or two."""
    pay = signed(chance, INTENT.payload() | {"order_no": "new"}, Typ.INTENT, w.MERCHANT)
    close = signed(chance, w.CLOSE.payload(), Typ.INTENT, w.MERCHANT_ES256)
    said = w.report(sequence=2, acquirer_reference=OWN).payload()
    told = signed(chance, said, Typ.REPORT, w.BANK)
    yield "SubmitIntents", {"intent": pay, "acquirer_id": "unionpay"}
    yield "SubmitIntents", {"intent": close}
    yield "SubmitReports", chance.choice((told, {"report": told, "epoch": chance.choice((0, 1))}))
    yield "SubmitEvidence", signed(chance, said | {"sequence": 1}, Typ.REPORT, w.BANK)
    yield "TakeLease", faulty(chance, {"acquirer_id": "unionpay", "epoch": 1, "holder": "a"})
    bodies = {
        "entity": w.entity("E-7"),
        "account": w.account("d" * 64),
        "merchant": w.merchant("M-7"),
        "acquirer": w.acquirer("second"),
        "acquirer_key": acquirer_key(w.STRANGER),
        "acquirer_status": {"acquirer_id": "unionpay", "status": "suspended"},
        "relation": chance.choice((relation(), AGENT)),
        "relation_end": ending(),
    }
    kind = chance.choice(sorted(bodies))
    yield (
        "ProposeRecords",
        w.proposal("new", kind, **bodies[kind]) | {"body": faulty(chance, bodies[kind])},
    )
    kind, body = chance.choice(
        (("merchant_key", w.key_body()), ("merchant_account", w.account_body()))
    )
    made = w.key_change().payload() if kind == "merchant_key" else ACCOUNT_CHANGE.payload()
    signer = chance.choice((w.MERCHANT, w.MERCHANT_ES256))
    body |= {"change": signed(chance, made, Typ.CHANGE, signer)}
    if chance.random() < 0.2:
        body = faulty(chance, body)
    yield "ProposeRecords", w.proposal("new", kind) | {"body": body}
    yield "DecideRecords", faulty(chance, w.verdict("p1"))
    yield "CountersignRelations", faulty(chance, w.verdict("p1"))
    yield "EndRelations", faulty(chance, ending())
    cleared = chance.choice(CLEARED)
    yield "SubmitClearing", signed(chance, cleared.payload(), Typ.CLEARING, w.BANK)
    yield "DecideSettlements", faulty(chance, ruling())
    yield "SubmitRules", faulty(chance, chance.choice(RULES))
    yield "SubmitCheckpoints", faulty(chance, CHECKPOINT)


def judged(ledger: Ledger, auditor: Model, name: str, item: Any) -> None:
    """The contract's decision, held against the model. Raises Wrong."""
    who = USUAL[name]
    answer, event, writes, status = b"", None, {}, 400
    try:
        argument = ledger_json.dumps([item])
    except CanonicalError:
        argument = canonical([item])
    try:
        decision = ledger.decide(name, ledger_json.loads(argument))
        answer, writes, status = decision.answer(), dict(decision.writes), 200
        event = (EVENT, decision.event) if decision.event else None
    except (Refusal, CanonicalError):
        pass
    auditor.take(
        Invocation(
            1, 0, f"tx{ledger.height + 1}", times.render(NOW), identity(who), (),
            (name.encode(), argument), status, answer, event, writes,
        )
    )  # fmt: skip


def identity(who: Submitter) -> Identity:
    key = ec.derive_private_key(1, ec.SECP256R1()).public_key()
    return Identity(who.msp_id, "client", who.role, who.person, key, "")


@pytest.mark.parametrize("seed", range(4))
def test_of_what_follows_the_payments_both_say_the_same(seed: int) -> None:
    chance = random.Random(seed)
    ledger = stated() if seed % 2 else filed()()
    answered = 0
    for _ in range(150):
        kind = chance.choice(CLEARED)
        item = signed(chance, kind.payload(), Typ.CLEARING, w.BANK)
        auditor = Model(w.NETWORK)
        auditor.records |= {key: strict_json(value) for key, value in ledger.state.items()}
        try:
            judged(ledger, auditor, "SubmitClearing", item)
            answered += 1
        except Wrong as wrong:
            assert wrong.check is Check.CARD_DATA, f"{wrong}: {item}"
    assert answered > 100


@pytest.mark.parametrize(
    "arguments", [(), (b"TakeLease",), (b"TakeLease", b"[1]", b"[1]"), (b"GetPayments", b"[")]
)
def test_a_call_is_a_name_and_one_argument_of_json(arguments: tuple[bytes, ...]) -> None:
    who = identity(USUAL["TakeLease"])
    call = Invocation(1, 0, "tx1", times.render(NOW), who, (), arguments, 200, b"", None, {})
    with pytest.raises(Wrong) as found:
        Model(w.NETWORK).take(call)
    assert found.value.check is Check.CALL
    Model(w.NETWORK).take(dataclasses.replace(call, status=400))  # refused, as the contract does


@pytest.mark.parametrize("seed", range(8))
def test_of_faulty_items_both_say_the_same(seed: int) -> None:
    chance = random.Random(seed)
    ledger = reported(ACCEPTED)() if seed % 2 else reported(DECLINED)()
    seen: dict[str, int] = {"answered": 0, "refused": 0}
    for _ in range(40):
        for name, item in items(chance):
            auditor = Model(w.NETWORK)
            auditor.records |= {key: strict_json(value) for key, value in ledger.state.items()}
            try:
                judged(ledger, auditor, name, item)
                seen["answered"] += 1
            except Wrong as wrong:
                # Only this refusal is wrong in itself: the number stands on the ledger.
                assert wrong.check is Check.CARD_DATA, f"{wrong}: {name} {item}"
                with pytest.raises(Refusal, match=r"^card_data_refused"):
                    ledger.decide(name, [item])
                seen["refused"] += 1
    assert min(seen.values()) > 10


# The edges of what a request may say: the last value that is taken, and the first that isn't.
EDGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ok", {"amount": 1}),
    ("malformed", {"amount": 0}),
    ("malformed", {"amount": -5}),
    ("ok", {"amount": 10**12 - 1}),
    ("malformed", {"amount": 10**12}),
    ("malformed", {"amount": 2**60}),
    ("malformed", {"amount": "12"}),
    ("malformed", {"amount": True}),
    ("malformed", {"version": 99}),
    ("malformed", {"memo": "x"}),
    ("malformed", {"attempt": 0}),
    ("attempt_out_of_order", {"attempt": 9999}),
    ("malformed", {"attempt": 10000}),
    ("malformed", {"expires_at": INTENT.created}),
    ("expired", {"expires_at": "2026-11-23T08:00:00.001Z"}),
    ("expired", {"expires_at": "2026-11-23T08:00:30.000Z"}),
    ("ok", {"expires_at": "2026-11-23T08:00:30.001Z"}),
    ("ok", {"created": "2026-11-23T08:05:30.000Z"}),
    ("not_yet_valid", {"created": "2026-11-23T08:05:30.001Z"}),
    ("ok", {"store": "x" * 32}),
    ("malformed", {"store": "x" * 33}),
    ("ok", {"order_no": "..."}),
    ("malformed", {"order_no": ".."}),
    ("malformed", {"acquirers": []}),
    ("malformed", {"acquirers": [INTENT.payload()["acquirers"][0]] * 2}),
)


@pytest.mark.parametrize(("code", "changed"), EDGES, ids=lambda value: str(value)[:48])
def test_the_edges_of_a_request(code: str, changed: dict[str, Any]) -> None:
    ledger = w.registered()
    payload = canonical(INTENT.payload() | changed)
    head = canonical({"alg": "Ed25519", "kid": w.MERCHANT.key_id, "typ": Typ.INTENT.value})
    message = f"{jws.encode(head)}.{jws.encode(payload)}"
    compact = f"{message}.{jws.encode(w.MERCHANT.sign(message.encode()))}"
    item = {"intent": compact, "acquirer_id": "unionpay"}
    (outcome,) = ledger.decide("SubmitIntents", [item]).outcomes
    assert outcome.code.value == code
    auditor = Model(w.NETWORK)
    auditor.records |= {key: strict_json(value) for key, value in ledger.state.items()}
    judged(ledger, auditor, "SubmitIntents", item)


def acquirer_key(new: KeySigner) -> dict[str, Any]:
    return {"acquirer_id": "unionpay", "action": "add", "key_id": new.key_id, "jwk": new.jwk}


@pytest.mark.parametrize("kind", ["merchant_key", "acquirer_key"])
@pytest.mark.parametrize("count", [31, 32])
def test_a_record_holds_32_keys(count: int, kind: str) -> None:
    ledger = w.registered()
    body = w.key_body if kind == "merchant_key" else acquirer_key
    there = 2 if kind == "merchant_key" else 1
    for number in range(there, count):
        added = body(w.ed25519_signer(str(number)))
        assert w.approved(ledger, w.proposal(f"k{number}", kind, **added)) == ["ok"]
    ledger.submit("ProposeRecords", [w.proposal("last", kind, **body(w.STRANGER))])
    (outcome,) = ledger.decide("DecideRecords", [w.verdict("last")]).outcomes
    assert outcome.code.value == ("ok" if count == 31 else "key_refused")
    auditor = Model(w.NETWORK)
    auditor.records |= {key: strict_json(value) for key, value in ledger.state.items()}
    judged(ledger, auditor, "DecideRecords", w.verdict("last"))


def test_card_numbers() -> None:
    chance = random.Random(7)
    starts = (
        *("4", "51", "2221", "2720", "37", "62", "81", "3528", "6011", "649", "305", "36", "508"),
        *("2204", "6762", "60", "82", "7", "1", "5", "2"),
    )
    found = 0
    for _ in range(6000):
        size = chance.randint(11, 20)
        digits = (chance.choice(starts) + "".join(chance.choices("0123456789", k=20)))[:size]
        cut = chance.randrange(1, size)
        text = chance.choice(("", "a", "12 ")) + chance.choice(
            (digits, f"{digits[:cut]}-{digits[cut:]}", f"{digits[:cut]}  {digits[cut:]}")
        )
        assert cards.held(text) == holds_card_number(text), text
        found += cards.held(text)
    assert found > 60


JSON = (
    *(b"", b"1", b"-0", b"0", b"1.0", b"1e3", b"NaN", b"9007199254740992", b"9007199254740993"),
    *(b"-9007199254740992", b"00", b'"\\ud800"', b'"\\ud83d\\ude00"', b'{"a":1,"a":2}', b"\xff"),
    *(b'{"\xc3\xa9":1}', b'{"\\u00e9":1}', b'{"a":"\xc3\xa9"}', b"\xef\xbb\xbf1", b"[1,]", b"tru"),
    *(b"[" * n + b"]" * n for n in (31, 32, 33, 5000)),
    *(b'{"a":' * n + b"1" + b"}" * n for n in (32, 33)),
    b'"a\nb"',
)


@pytest.mark.parametrize("text", JSON, ids=lambda text: repr(text[:24]))
def test_json(text: bytes) -> None:
    try:
        expected = ledger_json.loads(text)
    except CanonicalError:
        with pytest.raises(JoseError):
            strict_json(text)
        return
    assert strict_json(text) == expected
    assert canonical(expected) == ledger_json.dumps(expected)
    assert digest(expected) == ledger_json.digest(expected)


def test_keys() -> None:
    points = [jws.encode(point) for point in sorted(jws._SMALL_ORDER)]
    high = [y | sign for y in range(2**255 - 19, 2**255) for sign in (0, 2**255)]
    points += [jws.encode(one.to_bytes(32, "little")) for one in high]
    chance = random.Random(3)
    points += [jws.encode(chance.randbytes(32)) for _ in range(40)]
    points += [w.MERCHANT.jwk["x"], "A" * 42, "A" * 44, "A" * 42 + "B", "="]
    keys: list[dict[str, str]] = [{"kty": "OKP", "crv": "Ed25519", "x": one} for one in points]
    sound = w.MERCHANT_ES256.jwk
    keys += [sound, sound | {"y": sound["x"]}, sound | {"crv": "P-384"}, sound | {"d": "x"}]
    keys += [sound | {"x": jws.encode(b"\0" + jws.decode(sound["x"]))}]  # the same point
    keys += [{"kty": "RSA"}, {}, w.MERCHANT.jwk | {"crv": "X25519"}, w.MERCHANT.jwk | {"y": "x"}]
    taken = 0
    for jwk in keys:
        try:
            jws.public_key(jwk, jws.algorithm_of(jwk))
        except JwsError:
            with pytest.raises(Refused):
                key_record(jwk)
            continue
        assert key_record(jwk)[0] == jws.thumbprint(jwk)
        taken += 1
    assert 10 < taken < len(keys) - len(jws._SMALL_ORDER)


def test_both_know_the_same_functions_for_the_same_roles() -> None:
    theirs = {name: set(map(str, one.roles)) for name, one in FUNCTIONS.items()}
    ours = {name: set(one.roles) for name, one in model._FUNCTIONS.items()}
    assert ours | {name: set(model._ANYBODY) for name in model._READERS} == theirs
    writers = {name for name, one in FUNCTIONS.items() if isinstance(one, Writer)}
    assert set(ours) == writers


# From `clearline` the auditor takes transport and enumerations; the currencies are ISO 4217's list.
TAKES = {
    "clearline.codes": {"Code"},
    "clearline.statuses": {"Reason"},
    "clearline.money": {"MINOR_DIGITS"},
}


def test_it_takes_nothing_of_the_contracts_own_reading() -> None:
    root = Path(str(audit.__file__)).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not [one for one in node.names if one.name.startswith("clearline")], path
            module = str(getattr(node, "module", ""))
            if isinstance(node, ast.ImportFrom) and module.partition(".")[0] == "clearline":
                taken = {one.name for one in node.names}
                transport = module.startswith("clearline.fabric.")
                assert transport or taken <= TAKES.get(module, set()), f"{path}: {module}"
