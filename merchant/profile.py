"""A merchant's profile, merchant.json: who it is, which gateways it knows, which keys it trusts.

The acquirers' keys are pinned here, handed over by the acquiring bank outside this network: a
gateway can't bring its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from clearline import canonical, jws
from clearline.canonical import CanonicalError, Json
from clearline.cards import holds_card_number
from clearline.intents import Product
from clearline.jws import JwsError, KeySigner, PublicKey
from clearline.schema import (
    CATEGORY,
    IDENTIFIER,
    KEY_ID,
    MCC,
    MERCHANT_CODE,
    NETWORK,
    SITE,
    TERMINAL,
    TOKEN,
    Currency,
    Integer,
    Listed,
    Mapped,
    Members,
    OneOf,
    SchemaError,
    Shape,
    Text,
)

FILE: Final = "merchant.json"
KEY_FILE: Final = "key.pem"
BOOK_FILE: Final = "orders.db"
EXPIRES_IN: Final = 900  # seconds; long enough for a payer at a till, short enough to plan with
MAX_PROFILE_BYTES: Final = 1_000_000
# What may lie in a folder before it is a merchant's: CA files and keys others handed over.
_HANDED_OVER: Final = frozenset({".pem", ".crt", ".cer", ".jwk", ".json"})


class ProfileError(ValueError):
    """The profile or key can't be used; the message says which file, where in it, and why."""


@dataclass(frozen=True, slots=True)
class AnyJwk:
    """An object; clearline.jws judges whether it is a public key that is safe to trust."""

    def check(self, value: Json, pointer: str) -> None:
        try:
            jws.public_key(value, jws.algorithm_of(value))
        except JwsError as error:
            raise SchemaError(pointer, f"is not a public key this network takes: {error}") from None

    def json_schema(self) -> dict[str, Json]:
        return {"type": "object"}


# What an order leaves unsaid. Each is optional here; then each order must say it.
ORDER_FIELDS: Final[dict[str, Shape]] = {
    "store": IDENTIFIER,
    "terminal": TERMINAL,
    "mcc": MCC,
    "product": OneOf(tuple(Product)),
    "goods_category": CATEGORY,
    "site": SITE,
}
_DEFAULTS: Final[dict[str, Shape]] = {
    **ORDER_FIELDS,
    "currency": Currency(),
    "payer_token": TOKEN,
    "expires_in_seconds": Integer(10, 30 * 24 * 3600),
}
_GATEWAY: Final = Members(
    {
        "url": Text(
            "https://[A-Za-z0-9.:\\[\\]-]{1,128}",
            "must be https://host:port without a path or a slash at the end",
        ),
        "ca": Text(".{1,4096}", "must be the path of a PEM file"),
    }
)
PROFILE: Final = Members(
    {
        "network": NETWORK,
        "merchant_id": IDENTIFIER,
        "gateways": Listed(_GATEWAY, 1, 16),
        "acquirer_keys": Mapped(IDENTIFIER, Listed(AnyJwk(), 1, 16), 16),
        "revoked_keys": Listed(KEY_ID, 0, 64),
        "gateway_keys": Mapped(IDENTIFIER, Listed(AnyJwk(), 1, 16), 16),
        "routes": Listed(
            Members({"acquirer_id": IDENTIFIER, "merchant_code": MERCHANT_CODE}), 1, 8
        ),
        "defaults": Members(_DEFAULTS, frozenset(_DEFAULTS)),
    },
    frozenset({"defaults", "revoked_keys", "gateway_keys"}),
)


@dataclass(frozen=True, slots=True)
class GatewaySetting:
    """A gateway: its base URL, which is also its tokens' audience, and the CA of its TLS."""

    url: str
    ca: Path


@dataclass(frozen=True, slots=True)
class RouteSetting:
    """An acquirer the merchant takes payments through, and its code there."""

    acquirer_id: str
    merchant_code: str


@dataclass(frozen=True, slots=True)
class Pins:
    """The acquirers' keys this merchant trusts: by acquirer, then by key id.

    A key in `revoked` verifies nothing any more; it stays named so that the reason can be told.
    """

    keys: MappingProxyType[str, MappingProxyType[str, PublicKey]]
    revoked: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """merchant.json, checked. `defaults` holds texts by order field; routes are in order of
    preference; `expires_in` is in seconds; `gateway_keys` sign receipts, by gateway and key id."""

    network: str
    merchant_id: str
    gateways: tuple[GatewaySetting, ...]
    pins: Pins
    routes: tuple[RouteSetting, ...]
    defaults: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    expires_in: int = EXPIRES_IN
    gateway_keys: MappingProxyType[str, MappingProxyType[str, PublicKey]] = field(
        default_factory=lambda: MappingProxyType({})
    )


def load(home: Path) -> Profile:
    """The profile in a merchant's folder. Raises ProfileError naming the file and the place."""
    path = home / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ProfileError(
            f"there is no {path}; make one with `clearline merchant init`, "
            "or name its folder with --home"
        ) from None
    except OSError as error:
        raise ProfileError(f"can't read {path}: {error.strerror}") from None
    if len(data) > MAX_PROFILE_BYTES:
        raise ProfileError(f"{path} is larger than {MAX_PROFILE_BYTES} bytes")
    try:
        return parse(canonical.loads(data), home)
    except (CanonicalError, SchemaError) as error:
        raise ProfileError(f"{path}: {error}") from None


def parse(document: Json, home: Path) -> Profile:
    """A profile document; relative paths start at `home`. Raises SchemaError with the place."""
    PROFILE.check(document, "")
    routes = tuple(RouteSetting(**route) for route in document["routes"])
    keys = _keys(document["acquirer_keys"])
    _check_routes(routes, frozenset(keys))
    gateways = tuple(GatewaySetting(g["url"], home / g["ca"]) for g in document["gateways"])
    if len({gateway.url for gateway in gateways}) != len(gateways):
        raise SchemaError("/gateways", "names a gateway twice")
    defaults = dict(document.get("defaults", {}))
    expires_in = defaults.pop("expires_in_seconds", EXPIRES_IN)
    for name, value in defaults.items():
        if holds_card_number(value):
            raise SchemaError(f"/defaults/{name}", "looks like a card number")
    return Profile(
        document["network"],
        document["merchant_id"],
        gateways,
        Pins(MappingProxyType(keys), frozenset(document.get("revoked_keys", ()))),
        routes,
        MappingProxyType(defaults),
        expires_in,
        MappingProxyType(_keys(document.get("gateway_keys", {}))),
    )


def _keys(document: dict[str, Json]) -> dict[str, MappingProxyType[str, PublicKey]]:
    """Lists of JWKs by owner, as keys by owner and key id."""
    return {
        owner: MappingProxyType(
            {jws.thumbprint(jwk): jws.public_key(jwk, jws.algorithm_of(jwk)) for jwk in jwks}
        )
        for owner, jwks in document.items()
    }


def _check_routes(routes: tuple[RouteSetting, ...], pinned: frozenset[str]) -> None:
    seen: set[str] = set()
    for index, route in enumerate(routes):
        place = f"/routes/{index}"
        if route.acquirer_id in seen:
            raise SchemaError(f"{place}/acquirer_id", "names an acquirer twice")
        if route.acquirer_id not in pinned:
            raise SchemaError(
                f"{place}/acquirer_id",
                "has no key in acquirer_keys, so that no result of it could be believed",
            )
        if holds_card_number(route.merchant_code):
            raise SchemaError(f"{place}/merchant_code", "looks like a card number")
        seen.add(route.acquirer_id)


def load_signer(home: Path) -> KeySigner:
    """The merchant's signing key. Raises ProfileError that says what to do."""
    path = home / KEY_FILE
    try:
        return KeySigner.load(path)
    except FileNotFoundError:
        raise ProfileError(
            f"there is no {path}; make one with `clearline merchant keygen`"
        ) from None
    except OSError as error:
        raise ProfileError(f"can't read {path}: {error.strerror}") from None
    except JwsError as error:
        raise ProfileError(str(error)) from None


def save(document: Json, home: Path) -> Path:
    """Check a profile document and write it as merchant.json; never replaces one.

    Raises SchemaError for a bad document, ProfileError when the folder has a profile.
    """
    parse(document, home)
    _make(home)
    path = home / FILE
    write_new(path, canonical.dumps(document) + b"\n")
    return path


def save_key(signer: KeySigner, home: Path) -> Path:
    """Write the key as key.pem, readable by its owner only; never replaces one (ProfileError)."""
    _make(home)
    path, draft = home / KEY_FILE, home / f".{KEY_FILE}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    signer.save(draft)
    _put(draft, path)
    return path


def _make(home: Path) -> None:
    """Make the folder. Raises ProfileError when it is there and holds somebody else's things."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any((home / name).exists() for name in (FILE, KEY_FILE, BOOK_FILE)):
        return
    foreign = [
        path.name
        for path in sorted(home.iterdir())
        if not (path.is_file() and path.suffix in _HANDED_OVER) and not _is_draft(path)
    ]
    if foreign:
        raise ProfileError(
            f"{home} holds other things ({foreign[0]}) and is no merchant's folder; "
            "name another with --home"
        )


def _is_draft(path: Path) -> bool:
    """Whether a call of ours that was ended in the middle left it."""
    return path.name.startswith((f".{FILE}.", f".{KEY_FILE}."))


def write_new(path: Path, data: bytes) -> None:
    """Write a file that isn't there yet, whole or not at all. Raises ProfileError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(data)
    _put(draft, path)


def _put(draft: Path, path: Path) -> None:
    # A link fails when the name is taken, which a rename would overwrite.
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise ProfileError(f"{path} exists and is never overwritten; move it away first") from None
    finally:
        draft.unlink()
