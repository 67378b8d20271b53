"""Where webhooks may go: a URL read strictly, and addresses that are nobody's internal network.

A merchant names a URL and this gateway connects to it: without these rules it would be a merchant's
arm into the bank's network (OWASP API7:2023, server side request forgery). A URL has one reading
only; its name is resolved once; every address of it must be allowed; the connection goes to the
address that was checked. The networks are listed here and not asked of `ipaddress.is_global`, whose
answers differ between Python versions.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network

# RFC 3986 has more; what is left out here is read in more than one way by somebody's parser:
# user information, fragments, back slashes, percent signs and other characters in the host.
_URL: Final = re.compile(
    r"(?P<scheme>[a-z]{4,5})://"
    r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# What inet_aton takes for an address or a part of one: decimal, octal, hexadecimal.
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS: Final = {"https": 443, "http": 80}
# Names that never leave a machine or a site (RFC 6761, RFC 6762, RFC 8375, ICANN's `internal`).
_LOCAL_NAMES: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp", "test",
     "invalid", "onion", "arpa", "example"}
)  # fmt: skip

# IANA IPv4 Special-Purpose Address Registry, multicast, class E and broadcast; and the address
# under which a large cloud serves its metadata from a public range.
_IPV4_REFUSED: Final = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
    )
)  # fmt: skip
# Of IPv6 only global unicast is taken, and of that not what embeds an IPv4 address or is reserved:
# so loopback, unspecified, mapped (::ffff:0:0/96), NAT64 (64:ff9b::/96, 64:ff9b:1::/48), unique
# local, link-local, site-local and multicast are refused without being listed.
_IPV6_TAKEN: Final = ipaddress.IPv6Network("2000::/3")
_IPV6_REFUSED: Final = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_ISATAP: Final = 0x5EFE  # RFC 5214: bits 32 to 63 from the right are 0000:5efe or 0200:5efe


class Why(StrEnum):
    """Why a target is refused. Never which address a name has: that is the bank's to know."""

    URL = "the URL is not https://host[:port][/path][?query] in plain ASCII"
    SCHEME = "the scheme is not one this gateway sends to"
    PORT = "the port is not one this gateway sends to"
    HOST = "the host is neither a full domain name nor an IP address in its usual form"
    LOCAL_NAME = "the host is a local name"
    ADDRESS = "the host is in a network this gateway sends nothing to"
    UNRESOLVED = "the host's name has no address"


class TargetRefusedError(ValueError):
    """Nothing is sent there."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports from `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TargetRules:
    """What is configured: schemes, ports, and networks taken although they are private."""

    schemes: tuple[str, ...] = ("https",)
    ports: tuple[PortRange, ...] = (PortRange(443, 443), PortRange(8443, 8443))
    allow_private: tuple[IpNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. `host` is lower case, an IPv6 address without brackets; `address` is the
    host's when it is one; `path` has the query with it and begins with a slash."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def authority(self) -> str:
        """The Host header: without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str, rules: TargetRules) -> Target:
    """Read a URL. Raises TargetRefusedError; a name's addresses are checked when it is resolved."""
    match = _URL.fullmatch(url)
    if match is None or match["scheme"] not in _PORTS:
        raise TargetRefusedError(Why.URL)
    if match["scheme"] not in rules.schemes:
        raise TargetRefusedError(Why.SCHEME)
    port = int(match["port"]) if match["port"] else _PORTS[match["scheme"]]
    if not any(span.first <= port <= span.last for span in rules.ports):
        raise TargetRefusedError(Why.PORT)
    host = match["host"].lower()
    address = _literal(host)
    if address is not None:
        check(address, rules)
        host = str(address)
    else:
        _check_name(host, rules)
    path = match["path"] or "/"
    return Target(match["scheme"], host, port, path if path[0] == "/" else f"/{path}", address)


def check(address: Address, rules: TargetRules) -> None:
    """Raise TargetRefusedError unless webhooks may be sent to this address."""
    if any(address.version == net.version and address in net for net in rules.allow_private):
        return
    if isinstance(address, IPv4Address):
        refused = any(address in network for network in _IPV4_REFUSED)
    else:
        refused = (
            address.scope_id is not None
            or address not in _IPV6_TAKEN
            or any(address in network for network in _IPV6_REFUSED)
            or (int(address) >> 32 & 0xFDFFFFFF) == _ISATAP
        )
    if refused:
        raise TargetRefusedError(Why.ADDRESS)


def check_resolved(texts: list[str], rules: TargetRules) -> tuple[Address, ...]:
    """The addresses a name was resolved to, all of them allowed. Raises TargetRefusedError.

    One that is refused refuses all: a name that has both kinds is a trick or a mistake.
    """
    try:
        addresses = tuple(dict.fromkeys(ipaddress.ip_address(text) for text in texts))
    except ValueError:
        raise TargetRefusedError(Why.ADDRESS) from None
    if not addresses:
        raise TargetRefusedError(Why.UNRESOLVED)
    for address in addresses:
        check(address, rules)
    return addresses


def _literal(host: str) -> Address | None:
    """The address a host is, in its usual form only; None for what looks like a name."""
    if host.startswith("["):
        try:
            return ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise TargetRefusedError(Why.HOST) from None
    if not _NUMERIC.fullmatch(host.rpartition(".")[2]):
        return None
    # The last label is a number, so somebody's resolver takes the whole for an address.
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        raise TargetRefusedError(Why.HOST) from None


def _check_name(host: str, rules: TargetRules) -> None:
    labels = host.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise TargetRefusedError(Why.HOST)
    # Where private networks are configured, local names are how they are called.
    if not rules.allow_private and (len(labels) < 2 or labels[-1] in _LOCAL_NAMES):
        raise TargetRefusedError(Why.LOCAL_NAME)
