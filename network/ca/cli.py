"""`clearline identity`: enroll, register, reenroll, revoke, crl, list.

Exit codes: 0 done (or nothing to do), 1 an error (its code in square brackets), 2 a wrong command
line. A secret is read from a file, the environment or a prompt, never from an argument, and never
printed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from network import home as homes
from network.ca import listing
from network.ca.client import REASONS, CAAddress, Profile, Registration
from network.ca.enrolment import EnrollRequest, KeyChoice, Member, Outcome, Present
from network.ca.enrolment import enroll as run_enroll
from network.ca.enrolment import reenroll as run_reenroll
from network.ca.errors import Code, IdentityCommandError
from network.ca.inputs import SECRET_VARIABLE, attributes_of, duration, read_secret
from network.certificates import ROLE_ATTRIBUTE
from network.home import Home, HomeError
from network.topology import Role, TopologyError, UserKind

_Command = TypeVar("_Command", bound=Callable[..., Any])

_TYPES: Final = ("client", "admin", "peer", "orderer")


def _where(command: _Command) -> _Command:
    """--home and --org."""
    command = click.option(
        "--org",
        "organization",
        envvar="CLEARLINE_ORG",
        required=True,
        help="The organisation (environment: CLEARLINE_ORG).",
    )(command)
    return click.option(
        "--home",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="CLEARLINE_HOME",
        default=".clearline/dev",
        show_default=True,
        help="The network's folder (environment: CLEARLINE_HOME).",
    )(command)


def _profile_option(command: _Command) -> _Command:
    return click.option(
        "--profile",
        type=click.Choice([item.value for item in Profile]),
        default=Profile.IDENTITY.value,
        show_default=True,
        help="Whether it is about MSP identities or TLS certificates.",
    )(command)


def _registrar_option(command: _Command) -> _Command:
    return click.option(
        "--as",
        "registrar",
        default="registrar",
        show_default=True,
        help="In whose name the CA is asked: an identity enrolled on this machine.",
    )(command)


def _secret_option(command: _Command) -> _Command:
    return click.option(
        "--secret-file",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        help=f"File with the enrolment secret, - for standard input (or the environment: "
        f"{SECRET_VARIABLE}).",
    )(command)


@contextmanager
def _errors() -> Iterator[None]:
    from clearline.fabric.identity import IdentityError
    from clearline.fabric.profile import ProfileError

    try:
        yield
    except (IdentityCommandError, HomeError) as error:
        raise click.ClickException(f"{error} [{error.code}]") from error
    except TopologyError as error:
        raise click.ClickException(f"{error} [unreadable_home]") from error
    except (IdentityError, ProfileError) as error:
        raise click.ClickException(f"{error} [{Code.UNREADABLE}]") from error


def _member(folder: Path, organization: str) -> Member:
    home = Home(folder.absolute())
    marker = homes.read_marker(home)
    if marker is None or not home.topology_file.exists():
        raise click.ClickException(
            f"there is no network in {home.root}: run `clearline network up` [no_network]"
        )
    topology = homes.resolved_topology(home, marker)
    names = [item.name for item in topology.organizations]
    if organization not in names:
        raise click.UsageError(
            f"{organization!r} is no organisation of {topology.network}: {', '.join(names)}"
        )
    return Member(home, topology, topology.organization(organization))


@click.group()
def identity() -> None:
    """Identities from an organisation's Fabric CA server.

    Keys are made and kept on this machine; the CA sees signing requests only.

    Example: clearline identity list --org BankOne
    """


@identity.command()
@click.argument("name")
@_where
@click.option("--ca", "url", envvar="CLEARLINE_CA_URL", required=True, help="https://host:port")
@click.option("--ca-name", default="", help="Which CA of the server; default: its default one.")
@click.option(
    "--ca-tls",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    envvar="CLEARLINE_CA_TLS",
    help="Who vouches for the server's TLS certificate (PEM).",
)
@_profile_option
@_secret_option
@click.option("--host", "hosts", multiple=True, help="A further name of a TLS certificate.")
@click.option("--replace", is_flag=True, help="Put it in the place of one that is there.")
def enroll(
    name: str, folder: Path, organization: str, url: str, ca_name: str, ca_tls: Path | None,
    profile: str, secret_file: Path | None, hosts: tuple[str, ...], replace: bool,
) -> None:  # fmt: skip
    """Make a key and get its certificate with an enrolment secret.

    Harmless when the identity is enrolled there already.

    \b
    Example: clearline identity enroll gateway2 --org BankOne \\
               --ca https://ca.bankone.example:7054 --ca-tls ca-tls.pem --secret-file secret
    """
    from network.ca import registry

    with _errors():
        member = _member(folder, organization)
        request = EnrollRequest(
            name,
            Profile(profile),
            CAAddress(url.rstrip("/"), ca_name, ca_tls),
            hosts,
            Present.REPLACE if replace else Present.KEEP,
        )
        kept = registry.secret_file(member, name, ca_name)
        outcome = run_enroll(member, request, lambda: read_secret(secret_file, kept, name))
    _tell(outcome, "enrolled", "enrolled already")
    if outcome.changed:
        kept.unlink(missing_ok=True)


@identity.command()
@click.argument("name")
@_where
@_registrar_option
@_profile_option
@click.option("--type", "kind", type=click.Choice(_TYPES), default="client", show_default=True)
@click.option("--role", type=click.Choice([item.value for item in Role]), help="What it may do.")
@click.option(
    "--attr", "attributes", multiple=True, metavar="NAME=VALUE[:ecert]",
    help="A further attribute; with :ecert it is put into certificates.",
)  # fmt: skip
@click.option("--affiliation", help="Default: the registrar's; . for the CA's root.")
@click.option("--max-enrollments", type=click.IntRange(min=-1), default=1, show_default=True)
@_secret_option
def register(
    name: str, folder: Path, organization: str, registrar: str, profile: str, kind: str,
    role: str | None, attributes: tuple[str, ...], affiliation: str | None, max_enrollments: int,
    secret_file: Path | None,
) -> None:  # fmt: skip
    """Register an identity, so that it can be enrolled once with a secret.

    Without --secret-file a secret is made and kept in the home (mode 0600), where `enroll` finds
    it; give that file to whoever enrols elsewhere.

    \b
    Example: clearline identity register gateway2 --org BankOne --role gateway
    """
    from network.ca import registry

    if role is not None and kind != UserKind.CLIENT:
        raise click.UsageError(f"a role is a client's: --role {role} needs --type client")
    carried, held = attributes_of(attributes)
    if role is not None:
        carried[ROLE_ATTRIBUTE] = role
    if max_enrollments == 0:
        raise click.UsageError("--max-enrollments 0 would never let it enrol: -1 is no limit")
    with _errors():
        member = _member(folder, organization)
        who = registry.registrar(member, registrar, Profile(profile))
        wanted = Registration(name, kind, affiliation, carried, held, max_enrollments)
        path = registry.secret_file(member, name, who.authority.address.name)
        if secret_file is None:
            secret = registry.make_secret(path)
        else:
            secret = registry.Secret(read_secret(secret_file, path, name), None, made=False)
        new = registry.register(who, wanted, secret)
    click.echo(f"{organization}/{name} {'registered' if new else 'was registered so already'}")
    if secret.file is not None:
        click.echo(f"its enrolment secret is in {secret.file}")


@identity.command()
@click.argument("names", nargs=-1)
@_where
@_profile_option
@click.option("--before", metavar="30d", help="Only what ends within this time (d, h, m).")
@click.option("--same-key", is_flag=True, help="Keep the private key instead of making a new one.")
def reenroll(
    names: tuple[str, ...], folder: Path, organization: str, profile: str, before: str | None,
    same_key: bool,
) -> None:  # fmt: skip
    """Get the next certificate of enrolled identities: those named, or all of this machine.

    Meant for a timer: with --before it does nothing until it is time. Services read the new
    files when they start next.

    \b
    Example: clearline identity reenroll --org BankOne --before 30d
    """
    limit = None if before is None else duration(before)
    choice = KeyChoice.SAME if same_key else KeyChoice.NEW
    failures = 0
    with _errors():
        member = _member(folder, organization)
        wanted = names or listing.enrolled_names(member, Profile(profile))
        if not wanted:
            click.echo(f"nothing on this machine was enrolled at a CA of {organization}")
    for name in wanted:
        try:
            outcome = run_reenroll(member, name, Profile(profile), choice, limit)
            _tell(outcome, "re-enrolled", "not due")
        except IdentityCommandError as error:
            failures += 1
            click.echo(f"Error: {organization}/{name}: {error} [{error.code}]", err=True)
    if failures:
        raise SystemExit(1)


@identity.command()
@click.argument("name")
@_where
@_registrar_option
@_profile_option
@click.option("--reason", type=click.Choice(REASONS), default="unspecified", show_default=True)
@click.option(
    "--certificate",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Revoke this one certificate (PEM) only; the identity may enrol again.",
)
def revoke(
    name: str, folder: Path, organization: str, registrar: str, profile: str, reason: str,
    certificate: Path | None,
) -> None:  # fmt: skip
    """Revoke an identity and all its certificates at the CA.

    The network refuses it once the CRL is in the channel: `clearline identity crl --apply`.

    \b
    Example: clearline identity revoke gateway2 --org BankOne --reason keycompromise
    """
    from network.ca import keys, registry

    with _errors():
        member = _member(folder, organization)
        one = None if certificate is None else keys.load_certificate(certificate.read_bytes())
        who = registry.registrar(member, registrar, Profile(profile))
        done = registry.revoke(who, name, one, reason)
    for item in done:
        click.echo(f"revoked: serial {item.serial}")
    if not done:
        click.echo(f"{organization}/{name}: nothing left to revoke")
    if profile == Profile.IDENTITY.value:
        click.echo("the network takes it until: clearline identity crl --apply", err=True)


@identity.command()
@_where
@_registrar_option
@click.option(
    "--file",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Use this CRL (PEM) instead of asking the CA.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the CRL here.")
@click.option("--apply", is_flag=True, help="Put it into the channel's configuration.")
@click.option(
    "--signer", "signers", multiple=True, metavar="ORG/USER",
    help="Who signs the update; default: the organisation's own administrator.",
)  # fmt: skip
def crl(
    folder: Path, organization: str, registrar: str, file: Path | None, out: Path | None,
    apply: bool, signers: tuple[str, ...],
) -> None:  # fmt: skip
    """Fetch the CA's list of revoked certificates; with --apply, make the network refuse them.

    Harmless when the channel has the same list.

    \b
    Example: clearline identity crl --org BankOne --apply
    """
    from network.ca import registry

    with _errors():
        member = _member(folder, organization)
        found = registry.fetch_list(
            member, lambda: registry.registrar(member, registrar, Profile.IDENTITY), file
        )
        if out is not None:
            out.write_bytes(found.pem)
        count = len(found.serials)
        click.echo(f"{organization}: {count} certificate{'' if count == 1 else 's'} revoked")
        if apply:
            _apply(member, found, signers)


def _apply(member: Member, found: Any, signers: tuple[str, ...]) -> None:
    import asyncio

    from network.ca import revocation
    from network.channelchange import Administrator

    chosen = []
    for text in signers:
        organization, _, user = text.partition("/")
        known = {item.name for item in member.topology.organizations}
        if organization not in known or not user:
            raise click.UsageError(f"--signer {text}: ORG/USER with ORG of {', '.join(known)}")
        chosen.append(Administrator(organization, user))
    if not chosen:
        admins = [u for u in member.organization.users if u.kind is UserKind.ADMIN]
        chosen = [Administrator(member.organization.name, admins[0].name)]
    done = asyncio.run(revocation.apply(member, found, chosen))
    if not done.changed:
        click.echo("the channel has this list already")
        return
    click.echo(f"in force from configuration {done.sequence} of {member.topology.channel.id}")
    if done.waiting:
        click.echo(f"not seen yet on {', '.join(done.waiting)}: they get it with the block")


@identity.command(name="list")
@_where
@click.option("--at-ca", is_flag=True, help="What is registered at the CA instead.")
@_registrar_option
@_profile_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(
    folder: Path, organization: str, at_ca: bool, registrar: str, profile: str, as_json: bool
) -> None:
    """Show the identities on this machine, when they end, and who issued them.

    \b
    Example: clearline identity list --org BankOne
             clearline identity list --org BankOne --at-ca --json
    """
    from network.ca import registry

    rows: Sequence[listing.Row]
    with _errors():
        member = _member(folder, organization)
        if at_ca:
            who = registry.registrar(member, registrar, Profile(profile))
            rows = listing.at_authority(who.authority.all_registered(who.caller))
        else:
            rows = listing.on_machine(member, Profile(profile))
    if as_json:
        click.echo(json.dumps(listing.document(rows), indent=2))
    else:
        listing.print_table(rows, organization)


def _tell(outcome: Outcome, done: str, unchanged: str) -> None:
    where, certificate = outcome.enrolled.place, outcome.enrolled.certificate
    what = " (TLS)" if where.profile is Profile.TLS else ""
    click.echo(
        f"{where.organization}/{where.name}{what} {done if outcome.changed else unchanged}, "
        f"valid until {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    )
