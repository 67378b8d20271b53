"""The QR wallet as its document says: payments, notices, signatures, bad input, a durable book."""

import http.client
import json
import sqlite3
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from helpers_wallet import PAYMENT, REFERENCE, Bank, desk, running

from acquirers import kinds
from acquirers.cli import acquirer
from acquirers.qr_wallet import settings
from acquirers.qr_wallet.create import create
from acquirers.settings import SettingsError

CUT = (OSError, http.client.HTTPException)


def test_a_payment_from_create_to_notice(tmp_path: Path) -> None:
    with running(tmp_path) as bank, desk(tmp_path) as notices:
        created = bank.create(payer_token="tok_approve", notify_url=notices.url)
        assert (created.status, created.body["state"]) == (201, "waiting")
        assert created.body["pay_url"] == f"https://127.0.0.1:{bank.server.port}/pay/{REFERENCE}"
        (notice,) = notices.until(1)
        paid = bank.query().body
        assert notice == paid | {"notice": "ended"}
        assert (paid["state"], paid["amount"], paid["clearing_route"]) == (
            "paid", 2933, "QRW-SANDBOX",
        )  # fmt: skip
        assert bank.close().body == paid  # closing what is paid changes nothing
        assert bank.reverse().body["state"] == "reversed"
        assert bank.reverse().body["state"] == "reversed"
        entry = bank.booked()
    assert entry is not None
    assert (entry.charges, entry.reversals, entry.net, entry.reversals_seen) == (1, 1, 0, 2)


@pytest.mark.parametrize(
    ("token", "state", "notices", "charged"),
    [
        ("tok_approve", "paid", ["ended"], 2933),
        ("tok_slow", "paid", ["ended"], 2933),
        ("tok_refuses.7", "refused", ["ended"], 0),
        ("tok_insufficient_funds", "refused", ["ended"], 0),
        ("tok_notice_twice", "paid", ["ended", "ended"], 2933),
        ("tok_notice_disordered", "paid", ["ended", "scanned"], 2933),
        ("tok_notice_wrong_amount", "paid", ["ended"], 2933),
        ("tok_wrong_amount", "paid", ["ended"], 2934),
        ("tok_notice_early", "paid", ["ended"], 2933),
    ],
)
def test_tokens(tmp_path: Path, token: str, state: str, notices: list[str], charged: int) -> None:
    with running(tmp_path) as bank, desk(tmp_path) as taken:
        assert bank.create(payer_token=token, notify_url=taken.url).status == 201
        entry = bank.until(state)
        assert [item["notice"] for item in taken.until(len(notices))] == notices
        wrong = token in ("tok_notice_wrong_amount", "tok_wrong_amount")
        assert taken.came[0]["amount"] == (2934 if wrong else 2933)
        assert entry.charged_amount == charged


def test_messages_that_get_lost(tmp_path: Path) -> None:
    with running(tmp_path) as bank:
        with pytest.raises(CUT):
            bank.create(payer_token="tok_create_lost")
        assert (bank.query().status, bank.query().error) == (404, "not_found")
        other = "ab" * 20
        with pytest.raises(CUT):
            bank.create(payer_token="tok_create_unanswered", reference=other)
        assert bank.query(other).status == 200
        third = "cd" * 20
        assert bank.create(payer_token="tok_reversal_lost", reference=third).status == 201
        assert bank.close(third).body["state"] == "closed"
        with pytest.raises(CUT):
            bank.reverse(third)
        assert bank.reverse(third).status == 200


def test_a_payer_who_pays_after_the_close(tmp_path: Path) -> None:
    with running(tmp_path) as bank, desk(tmp_path) as notices:
        bank.create(payer_token="tok_pays_after_close", notify_url=notices.url)
        assert bank.close().body["state"] == "closed"
        assert bank.close().body["state"] in ("closed", "paid")
        assert notices.until(1)[0]["state"] == "paid"
        assert bank.reverse().body["state"] == "reversed"


def test_nothing_is_charged_twice_or_after_a_close(tmp_path: Path) -> None:
    with running(tmp_path) as bank:
        assert bank.create().status == 201
        for changes in ({}, {"amount": 1}, {"payer_token": "tok_approve"}):
            again = bank.create(**changes)
            assert (again.status, again.error) == (409, "reference_used")
        for fence in (bank.close, bank.reverse):
            reference = fence.__name__.encode().hex().rjust(40, "0")
            assert fence(reference).body == {"reference": reference, "state": "closed"}
            fenced = bank.create(reference=reference)
            assert (fenced.status, fenced.error) == (409, "closed_before")
        hundred = "ef" * 20
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: bank.create(reference=hundred).status, range(50)))
        assert sorted(answers) == [201] + [409] * 49


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"merchant_code": "QRX0000000001"}, 422, "merchant_unknown"),
        ({"currency": "XTS"}, 422, "currency_not_taken"),
        ({"payer_token": "tok_nobody"}, 422, "payer_unknown"),
        ({"notify_url": "https://169.254.169.254/notices"}, 422, "notify_url_refused"),
        ({"notify_url": "http://127.0.0.1:1/notices"}, 400, "malformed"),
        ({"expires_at": "2020-01-01T00:00:00.000Z"}, 422, "expired"),
        ({"expires_at": "soon"}, 400, "malformed"),
        ({"amount": 0}, 400, "malformed"),
        ({"amount": 1.0}, 400, "malformed"),
        ({"amount": True}, 400, "malformed"),
        ({"amount": "1"}, 400, "malformed"),
        ({"reference": "short"}, 400, "malformed"),
        ({"mcc": None}, 400, "malformed"),
        ({"surprise": "1"}, 400, "malformed"),
    ],
)
def test_what_a_create_is_refused_for(
    tmp_path: Path, changes: dict[str, object], status: int, error: str
) -> None:
    with running(tmp_path) as bank:
        answer = bank.create(**changes)
        assert (answer.status, answer.error) == (status, error)
        entry = bank.booked()
        assert entry is None or entry.charges == 0
        assert bank.create().status == 201  # a refusal does not use the reference up


def test_what_is_not_signed_right_does_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as bank:
        path, body = "/v1/payments", json.dumps(PAYMENT).encode()
        stranger = Bank(bank.folder, bank.server, bank.partner, Ed25519PrivateKey.generate())
        refusals = [
            (stranger.ask("POST", path, body), "signature_wrong"),
            (bank.ask("POST", path, body, Qrw_Partner="nobody"), "partner_unknown"),
            (bank.ask("POST", path, body, Qrw_Signature="00" * 64), "signature_wrong"),
            (bank.ask("POST", path, body, Qrw_Signature=""), "signature_wrong"),
            (bank.ask("POST", path, body, Qrw_Time="1"), "time_wrong"),
            (bank.ask("POST", path, body, Qrw_Time="99999999999"), "time_wrong"),
            (bank.ask("POST", path, body, Qrw_Time="now"), "signature_wrong"),
            (bank.ask("POST", path, body, Qrw_Nonce="short"), "signature_wrong"),
        ]
        for answer, error in refusals:
            assert (answer.status, answer.error) == (401, error)
        assert bank.booked() is None
        assert bank.ask("GET", "/v1/ping", Qrw_Nonce="a" * 32).status == 200
        assert bank.ask("GET", "/v1/ping", Qrw_Nonce="a" * 32).error == "nonce_used"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/payments", b"{", 400),
        ("POST", "/v1/payments", b"[]", 400),
        ("POST", "/v1/payments", b"[" * 10000, 400),
        ("POST", "/v1/payments", b"\xff\xfe", 400),
        ("GET", "/v1/payments", b"", 404),
        ("GET", "/v1/payments/xyz", b"", 404),
        ("POST", f"/v1/payments/{REFERENCE}", b"", 405),
        ("GET", f"/v1/payments/{REFERENCE}/close", b"", 405),
        ("POST", "/v1/payments", b"x" * 20000, 413),
    ],
)
def test_what_is_no_request(
    tmp_path: Path, method: str, path: str, body: bytes, status: int
) -> None:
    with running(tmp_path) as bank:
        try:
            assert bank.ask(method, path, body).status == status
        except CUT:
            assert status == 413  # it did not wait for the rest
        assert bank.create().status == 201


def test_a_wallet_that_was_away_goes_on_with_what_was_due(tmp_path: Path) -> None:
    with running(tmp_path, pay_seconds=0.4) as bank:
        assert bank.create(payer_token="tok_approve").status == 201
    with running(tmp_path) as bank:
        bank.until("paid")
        assert bank.create(payer_token="tok_approve").error == "reference_used"
        assert bank.ask("GET", "/v1/ping", Qrw_Nonce="b" * 32).status == 200
    with running(tmp_path) as bank:
        assert bank.ask("GET", "/v1/ping", Qrw_Nonce="b" * 32).error == "nonce_used"


def test_a_notice_is_sent_until_it_is_taken_and_not_for_ever(tmp_path: Path) -> None:
    create(tmp_path, "127.0.0.1", 0, "clearline-test")
    with running(tmp_path, notice_seconds=(0.05,) * 3) as bank, desk(tmp_path) as notices:
        notices.answers = [503, 500, 204]
        bank.create(payer_token="tok_approve", notify_url=notices.url)
        notices.until(3)
        other = "ab" * 20
        notices.answers = [503] * 10
        bank.create(payer_token="tok_approve", notify_url=notices.url, reference=other)
        notices.until(7)
        path = bank.server.settings.place.book

        def left() -> int:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                return int(db.execute("SELECT count(*) FROM due").fetchone()[0])

        while left():
            pass
    assert len(notices.came) == 7


def test_a_book_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    with running(tmp_path) as bank:
        bank.create()
        with closing(sqlite3.connect(bank.server.settings.place.book, isolation_level=None)) as db:
            db.execute("DROP TABLE journal")
        answer = bank.create(reference="ab" * 20)
        assert (answer.status, answer.error) == (503, "unavailable")
        assert bank.booked("ab" * 20) is None


def test_an_unpaid_payment_expires_by_itself(tmp_path: Path) -> None:
    with running(tmp_path) as bank:
        bank.create(payer_token="tok_approve")
        bank.until("paid")
        late = "ab" * 20
        bank.create(reference=late)
        with closing(sqlite3.connect(bank.server.settings.place.book)) as db, db:
            db.execute("UPDATE entry SET expires_at = '2020-01-01T00:00:00.000Z'")
        assert bank.query(late).body["state"] == "expired"
        assert bank.query().body["state"] == "paid"


def test_the_page_behind_the_code_is_for_anybody(tmp_path: Path) -> None:
    with running(tmp_path) as bank:
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", bank.server.port, context=context)
        connection.request("GET", f"/pay/{REFERENCE}")
        assert connection.getresponse().status == 200
        connection.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"listen": "nowhere"}, "listen"),
        ({"tls": {}}, "tls"),
        ({"partners": {"x": "zz"}}, "hex"),
        ({"private_key": "tls-key.pem"}, "Ed25519"),
        ({"pay_seconds": -1}, "pay_seconds"),
        ({"notice_seconds": ["1"]}, "notice_seconds"),
        ({"surprise": 1}, "unknown members"),
        ({"name": None}, "lacks"),
    ],
)
def test_bad_settings_say_what_is_wrong(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = create(tmp_path, "127.0.0.1", 8590, "clearline-test")
    members = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({k: v for k, v in members.items() if v is not None}))
    with pytest.raises(SettingsError, match=said):
        settings.load(path)


def test_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    folder = tmp_path / "wallet"
    made = run(acquirer, ["init", "qr_wallet", "--dir", str(folder)])
    assert made.exit_code == 0
    assert json.loads((folder / "partner.json").read_text())["url"] == "https://127.0.0.1:8590"
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    assert run(acquirer, ["init", "qr_wallet", "--dir", str(folder)]).exit_code == 1
    config = ["--config", str(folder / "settings.json")]
    assert "has the acquirer run yet" in run(acquirer, ["book", "qr_wallet", *config]).output
    with running(folder) as bank:
        bank.create(payer_token="tok_approve")
        bank.until("paid")
        shown = json.loads(run(acquirer, ["book", "qr_wallet", *config, "--json"]).output)
        assert shown["totals"] == {
            "references": 1, "charges": 1, "reversals": 0, "net_charges": 1,
        }  # fmt: skip
        assert shown["references"][0]["net"] == 2933
        assert REFERENCE[:8] in run(acquirer, ["book", "qr_wallet", *config]).output
    assert set(kinds.KINDS) == {"unionpay_iso8583", "qr_wallet"}
