"""Enrol, register, renew and revoke at a real fabric-ca-server, and what is kept on disk."""

from __future__ import annotations

import json
import logging
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import ca_server
import pytest
from ca_server import SECRET, TLS_CA
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from identity_world import World, authority

from chaincode.shim.identity import client_identity
from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile as ConnectionProfile
from network.ca import keys, registry, store
from network.ca.cli import identity
from network.ca.client import Profile, Registration
from network.ca.enrolment import KeyChoice, caller_of, present, reenroll
from network.ca.errors import Code, IdentityCommandError
from network.certificates import ROLE_ATTRIBUTE
from network.topology import Role


def run(world: World, *words: str | Path, secret: str | None = None) -> Result:
    """The command as an operator of BankOne gives it."""
    environment = {
        "CLEARLINE_HOME": str(world.home),
        "CLEARLINE_ORG": "BankOne",
        "CLEARLINE_CA_URL": world.server.address().url,
        "CLEARLINE_CA_TLS": str(world.server.tls_ca),
        "CLEARLINE_ENROLL_SECRET": secret,
    }
    return CliRunner().invoke(identity, [str(word) for word in words], env=environment)


def done(world: World, *words: str | Path, secret: str | None = None) -> str:
    result = run(world, *words, secret=secret)
    assert result.exit_code == 0, result.output
    return result.output


def refused(world: World, code: Code, *words: str | Path, secret: str | None = None) -> str:
    result = run(world, *words, secret=secret)
    assert result.exit_code == 1, result.output
    assert f"[{code}]" in result.output
    return result.output


def certificate(world: World, name: str, profile: Profile = Profile.IDENTITY) -> x509.Certificate:
    return present(world.member.place(name, profile)).certificate


def enrolled(world: World, name: str, *options: str) -> str:
    done(world, "register", name, *options)
    done(world, "enroll", name)
    return name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("role", list(Role))
def test_the_chaincode_reads_the_role_that_was_registered(world: World, role: Role) -> None:
    name = enrolled(world, f"role-{role}", "--role", role)
    signer = X509Signer.from_profile(
        ConnectionProfile.load(world.member.home.profile("BankOne", name))
    )
    seen = client_identity(signer.identity)
    assert (seen.msp_id, seen.common_name) == ("BankOne", name)
    assert seen.attribute(ROLE_ATTRIBUTE) == role


def test_the_same_code_reads_the_same_of_both_kinds_of_issuing(world: World) -> None:
    name = enrolled(world, "like-gateway", "--role", "gateway", "--affiliation", "bankone")
    made = keys.describe(certificate(world, "gateway"))
    from_ca = keys.describe(certificate(world, name))
    assert from_ca.attributes == {**made.attributes, "hf.EnrollmentID": name}
    assert (from_ca.unit, from_ca.role) == (made.unit, made.role)
    development = ConnectionProfile.load(world.member.home.profile("BankOne", "gateway"))
    profile = ConnectionProfile.load(world.member.home.profile("BankOne", name))
    assert (profile.peer, profile.network, profile.channel, profile.chaincode) == (
        development.peer, development.network, development.channel, development.chaincode,
    )  # fmt: skip
    files = {path.relative_to(profile.certificate.parents[1]).as_posix()
             for path in profile.certificate.parents[1].rglob("*") if path.is_file()}  # fmt: skip
    own = {path.relative_to(development.certificate.parents[1]).as_posix()
           for path in development.certificate.parents[1].rglob("*") if path.is_file()}  # fmt: skip
    assert files - own == {"enrollment.json", "ca-tls.pem"}
    assert own <= files


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("somebody", "client", "client"),
        ("second-admin", "admin", "admin"),
        ("peer0.bankone", "peer", "peer"),
    ],
)
def test_each_type_becomes_the_organisational_unit_that_nodes_tell_apart(
    world: World, name: str, kind: str, unit: str
) -> None:
    done(world, "register", name, "--type", kind, "--affiliation", "bankone.branch")
    done(world, "enroll", name, "--replace")
    assert keys.describe(certificate(world, name)).unit == unit
    where = world.member.place(name, Profile.IDENTITY)
    assert ("nodes" if kind == "peer" else "users") in where.folder.parts
    assert world.member.home.profile("BankOne", name).exists() == (kind != "peer")


def test_a_type_that_is_not_the_topologys_is_not_kept(world: World) -> None:
    done(world, "register", "peer9.bankone", "--type", "peer")
    refused(world, Code.WRONG_TYPE, "enroll", "peer9.bankone")
    assert not (world.member.place("peer9.bankone", Profile.IDENTITY).folder).exists()


def test_keys_are_private_and_never_sent(world: World) -> None:
    name = enrolled(world, "keyholder")
    where = world.member.place(name, Profile.IDENTITY)
    key = where.key_file(where.folder)
    assert mode(key) == 0o600
    assert [path for path in where.base.iterdir() if path.name.startswith(".")] == []
    assert b"PRIVATE KEY" in key.read_bytes()
    assert "PRIVATE KEY" not in world.server.log.read_text()
    for path in world.server.log.parent.rglob("*"):
        if path.is_file():
            assert key.read_bytes().split(b"\n")[1] not in path.read_bytes()


def test_secrets_are_in_files_of_their_owner_and_nowhere_else(world: World) -> None:
    output = done(world, "register", "quiet")
    file = registry.secret_file(world.member, "quiet", "")
    secret = file.read_text().strip()
    assert mode(file) == 0o600
    assert len(secret) >= 32
    output += done(world, "enroll", "quiet")
    assert not file.exists(), "it was used up"
    assert secret not in output
    assert secret not in world.server.log.read_text()


@pytest.mark.parametrize("hfc_level", [logging.WARNING, logging.DEBUG])
def test_no_secret_is_logged_because_hfcs_debug_level_is_shut(
    world: World, caplog: pytest.LogCaptureFixture, hfc_level: int
) -> None:
    name, secret = f"logged-{hfc_level}", f"a-secret-{hfc_level}"
    logger = logging.getLogger("hfc")
    assert logger.level == logging.WARNING
    who = registry.registrar(world.member, "registrar", Profile.IDENTITY)
    with caplog.at_level(logging.DEBUG), caplog.at_level(hfc_level, "hfc"):
        who.authority.register(who.caller, Registration(name, "client", None, {}, {}, 1), secret)
    leaked = secret in caplog.text
    assert leaked == (hfc_level == logging.DEBUG), "hfc does write it, if it is let"


def test_a_secret_comes_from_a_file_standard_input_or_a_prompt(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("chosen-by-hand\n")
    done(world, "register", "by-file", "--secret-file", file, "--max-enrollments", "2")
    refused(world, Code.NO_SECRET, "enroll", "by-file")
    assert "enrolled" in done(world, "enroll", "by-file", "--secret-file", file)
    result = CliRunner().invoke(
        identity,
        ["enroll", "by-file", "--replace", "--secret-file", "-", "--home", str(world.home),
         "--org", "BankOne", "--ca", world.server.address().url,
         "--ca-tls", str(world.server.tls_ca)],
        input="chosen-by-hand\n",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    output = refused(world, Code.WRONG_SECRET, "enroll", "by-file", "--replace",
                     "--secret-file", file)  # fmt: skip
    assert "as often as it may be" in output
    assert "chosen-by-hand" not in output


def test_enrolling_again_changes_nothing(world: World) -> None:
    name = enrolled(world, "twice")
    before = certificate(world, name)
    assert "enrolled already" in done(world, "enroll", name)
    assert certificate(world, name) == before


def test_what_the_development_issuing_made_is_replaced_only_when_told(world: World) -> None:
    before = certificate(world, "connector")
    assert "--replace" in refused(world, Code.ALREADY_ENROLLED, "enroll", "connector")
    assert certificate(world, "connector") == before
    refused(world, Code.NOT_ENROLLED, "reenroll", "connector")
    done(world, "register", "connector", "--role", "connector")
    done(world, "enroll", "connector", "--replace")
    assert certificate(world, "connector") != before
    assert keys.describe(certificate(world, "connector")).role == "connector"


def test_a_refused_enrolment_leaves_what_was_there(world: World) -> None:
    before = certificate(world, "maker")
    refused(world, Code.WRONG_SECRET, "enroll", "maker", "--replace", secret="wrong")
    where = world.member.place("maker", Profile.IDENTITY)
    assert certificate(world, "maker") == before
    assert not where.stage.exists()
    assert caller_of(present(where)).name == "maker"


def test_registering_again_is_harmless_and_registering_otherwise_is_refused(world: World) -> None:
    wanted = ("register", "again", "--role", "auditor")
    done(world, *wanted)
    file = registry.secret_file(world.member, "again", "")
    secret = file.read_text()
    assert "was registered so already" in done(world, *wanted)
    assert file.read_text() == secret, "the secret that a lost answer may have told the CA"
    assert "clearline.role 'auditor'" in refused(
        world, Code.ALREADY_REGISTERED, "register", "again", "--role", "gateway"
    )
    file.unlink()
    refused(world, Code.ALREADY_REGISTERED, *wanted)
    assert not file.exists(), "a secret the CA never heard of"


def test_only_a_registrar_registers_revokes_and_lists(world: World) -> None:
    name = enrolled(world, "plain")
    for words in (
        ("register", "anybody"),
        ("revoke", "registrar"),
        ("crl",),
        ("list", "--at-ca"),
    ):
        refused(world, Code.NOT_AUTHORISED, *words, "--as", name)
    assert not registry.secret_file(world.member, "anybody", "").exists()
    refused(world, Code.NOT_ENROLLED, "register", "anybody", "--as", "nobody")
    refused(world, Code.NOT_REGISTERED, "revoke", "nobody-at-all")


def test_tls_certificates_come_from_the_tls_authority(world: World) -> None:
    done(world, "register", "wired", "--profile", "tls")
    output = done(world, "enroll", "wired", "--profile", "tls", "--ca-name", TLS_CA,
                  "--host", "pay.example", "--host", "10.0.0.7")  # fmt: skip
    assert "BankOne/wired (TLS) enrolled" in output
    found = certificate(world, "wired", Profile.TLS)
    assert keys.hosts_of(found) == (
        "10.0.0.7", "127.0.0.1", "localhost", "pay.example", "wired.bankone",
    )  # fmt: skip
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {usage._name for usage in usages} == {"serverAuth", "clientAuth"}
    where = world.member.place("wired", Profile.TLS)
    assert mode(where.key_file(where.folder)) == 0o600
    done(world, "reenroll", "wired", "--profile", "tls", "--same-key")
    renewed = certificate(world, "wired", Profile.TLS)
    assert renewed.serial_number != found.serial_number
    assert keys.hosts_of(renewed) == keys.hosts_of(found)


def test_the_ca_must_be_of_the_organisations_msp(world: World) -> None:
    output = refused(world, Code.UNTRUSTED_CA, "enroll", "lost", "--ca-name", TLS_CA)
    assert "MSP" in output
    output = refused(world, Code.CA_UNKNOWN, "enroll", "lost", "--ca-name", "no-such-ca")
    assert "no-such-ca" in output


def test_reenrolment_keeps_or_changes_the_key_and_waits_until_it_is_due(world: World) -> None:
    name = enrolled(world, "renewed", "--role", "gateway")
    first = certificate(world, name)
    assert "not due" in done(world, "reenroll", name, "--before", "30d")
    assert certificate(world, name) == first
    assert "re-enrolled" in done(world, "reenroll", name, "--before", "400d")
    second = certificate(world, name)
    assert second.public_key() != first.public_key()
    done(world, "reenroll", name, "--same-key")
    third = certificate(world, name)
    assert third.public_key() == second.public_key()
    assert len({first.serial_number, second.serial_number, third.serial_number}) == 3
    names = {client_identity(_identity(item)).names_sha256 for item in (first, second, third)}
    assert len(names) == 1, "makers and checkers are told apart by it"
    assert keys.describe(third).role == "gateway"


def _identity(item: x509.Certificate) -> bytes:
    from clearline.fabric.protoutil import serialized_identity

    return serialized_identity("BankOne", item.public_bytes(Encoding.PEM))


def test_reenrolling_all_of_the_machine_leaves_the_development_ones(world: World) -> None:
    output = done(world, "reenroll", "--before", "1m")
    assert "BankOne/registrar not due" in output
    assert "BankOne/checker" not in output


def test_it_is_too_late_after_the_end(world: World) -> None:
    name = enrolled(world, "late")
    where = world.member.place(name, Profile.IDENTITY)
    current = present(where)
    issuer = authority(world.member.home.organization("BankOne") / "ca")
    end = datetime.now(UTC) - timedelta(seconds=1)
    ended = (
        x509.CertificateBuilder(
            issuer_name=current.certificate.issuer,
            subject_name=current.certificate.subject,
            public_key=current.certificate.public_key(),
            serial_number=current.certificate.serial_number,
            not_valid_before=end - timedelta(days=1),
            not_valid_after=end,
        )
    ).sign(issuer.private_key, hashes.SHA256())
    where.certificate_file(where.folder).write_bytes(ended.public_bytes(Encoding.PEM))
    assert "--replace" in refused(world, Code.EXPIRED, "reenroll", name, "--before", "30d")
    refused(world, Code.EXPIRED, "list", "--at-ca", "--as", name)
    refused(world, Code.ALREADY_ENROLLED, "enroll", name)
    rows = json.loads(done(world, "list", "--json"))
    assert next(row for row in rows if row["name"] == name)["state"] == "expired"


def test_a_revoked_identity_gets_nothing_more_from_the_ca(world: World, tmp_path: Path) -> None:
    name = enrolled(world, "leaver", "--max-enrollments", "-1")
    serial = certificate(world, name).serial_number
    assert f"serial {serial:x}" in done(world, "revoke", name, "--reason", "keycompromise")
    assert "nothing left to revoke" in done(world, "revoke", name)
    refused(world, Code.REVOKED, "reenroll", name)
    refused(world, Code.WRONG_SECRET, "enroll", name, "--replace", secret="any")
    out = tmp_path / "crl.pem"
    done(world, "crl", "--out", out)
    crl = x509.load_pem_x509_crl(out.read_bytes())
    entry = crl.get_revoked_certificate_by_serial_number(serial)
    assert entry is not None
    rows = json.loads(done(world, "list", "--json"))
    assert next(row for row in rows if row["name"] == name)["state"] == "revoked"


def test_one_certificate_is_revoked_and_its_identity_stays(world: World, tmp_path: Path) -> None:
    name = enrolled(world, "careless")
    lost = tmp_path / "lost.pem"
    lost.write_bytes(certificate(world, name).public_bytes(Encoding.PEM))
    done(world, "reenroll", name)
    assert "revoked: serial" in done(world, "revoke", name, "--certificate", lost)
    assert "nothing left to revoke" in done(world, "revoke", name, "--certificate", lost)
    assert "re-enrolled" in done(world, "reenroll", name)


def test_list_shows_what_is_here_and_what_the_ca_knows(world: World) -> None:
    enrolled(world, "listed", "--role", "auditor")
    here = {row["name"]: row for row in json.loads(done(world, "list", "--json"))}
    assert here["listed"]["issued_by"] == world.server.address().url
    assert here["listed"]["role"] == "auditor"
    assert 363 <= here["listed"]["days_left"] <= 365
    assert here["checker"]["issued_by"] == "development"
    there = {row["name"]: row for row in json.loads(done(world, "list", "--at-ca", "--json"))}
    assert there["listed"]["role"] == "auditor"
    assert "checker" not in there
    assert "listed" in done(world, "list")


def test_an_identity_of_another_ca_is_told_apart_from_a_revoked_one(world: World) -> None:
    who = registry.registrar(world.member, "registrar", Profile.TLS)
    other = registry.registrar(world.member, "registrar", Profile.IDENTITY)
    with pytest.raises(IdentityCommandError) as failed:
        who.authority.all_registered(other.caller)
    assert failed.value.code is Code.UNTRUSTED_CA


def test_names_and_values_outside_ascii_are_signed_as_they_are_sent(world: World) -> None:
    who = registry.registrar(world.member, "registrar", Profile.IDENTITY)
    held = {"note": "zażółć \u2028 支付"}
    wanted = Registration("unusual", "client", "bankone", {}, held, 1)
    who.authority.register(who.caller, wanted, SECRET)
    assert who.authority.registered(who.caller, "unusual").attributes["note"] == held["note"]


def test_a_stopped_ca_is_named_and_nothing_changes(world: World, tmp_path: Path) -> None:
    root = world.member.home.organization("BankOne")
    own = authority(root / "ca")
    server = ca_server.start(ca_server.TOOL, tmp_path / "brief", own, authority(root / "tlsca"))
    server.stop()
    result = CliRunner().invoke(
        identity,
        ["enroll", "unlucky", "--home", str(world.home), "--org", "BankOne", "--ca",
         server.address().url, "--ca-tls", str(server.tls_ca)],
        env={"CLEARLINE_ENROLL_SECRET": "kept-from-view"},
    )  # fmt: skip
    assert result.exit_code == 1
    assert f"[{Code.CA_UNREACHABLE}]" in result.output
    assert "Connection refused" in result.output
    assert "kept-from-view" not in result.output


def test_a_server_that_another_authority_vouches_for_is_not_spoken_to(world: World) -> None:
    wrong = world.member.home.organization("BankTwo") / "tlsca" / "cert.pem"
    refused(world, Code.CA_TLS, "enroll", "anyone", "--ca-tls", wrong, secret="unsent")
    assert "anyone" not in world.server.log.read_text()


def test_two_renewals_at_once_leave_a_key_and_its_certificate(world: World) -> None:
    from concurrent.futures import ThreadPoolExecutor

    name = enrolled(world, "busy")
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(
            pool.map(
                lambda _: reenroll(world.member, name, Profile.IDENTITY, KeyChoice.NEW, None),
                range(4),
            )
        )
    assert all(outcome.changed for outcome in outcomes)
    caller_of(present(world.member.place(name, Profile.IDENTITY)))
    assert store.load(world.member.place(name, Profile.IDENTITY)) is not None
