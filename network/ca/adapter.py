"""What hfc's CA client lacks to speak to a Fabric CA 1.4 or later, and on this machine's libraries.

- its token signs body and certificate only; the server wants method and path as well
  (fabric-ca util/util.go GenECDSAToken; the old form needs a compatibility switch on the server),
  and over the bytes that are really sent: hfc signs another JSON rendering than it posts
- its curve is a class where `cryptography` wants an object
- `CertificateService` quotes its query twice, so that the server sees no filter
- its calls have no time-outs, take proxies and credentials from the environment, follow
  redirects with them, and turn every refusal into a ValueError

hfc writes answers, secrets among them, to its logger at DEBUG: that level is never let through.
"""

from __future__ import annotations

import base64
import json as jsonlib
import logging
import urllib.parse
from typing import Any, Final

import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hfc.fabric_ca.caservice import CAClient, Enrollment
from hfc.util.crypto.crypto import ecies

from clearline.fabric.identity import curve_order, to_low_s
from network.ca.errors import Code, IdentityCommandError

_TIMEOUTS: Final = (5.0, 30.0)
# Numbers of the server's refusals (fabric-ca lib/caerrors/servererror.go).
_CODES: Final = {
    10: Code.NOT_REGISTERED,
    19: Code.CA_UNKNOWN,
    63: Code.NOT_REGISTERED,
    66: Code.REVOKED,
    70: Code.REVOKED,
    71: Code.NOT_AUTHORISED,
    73: Code.WRONG_SECRET,
    74: Code.ALREADY_REGISTERED,
}
_AUTHENTICATION: Final = 20

logging.getLogger("hfc").setLevel(logging.WARNING)


def curve() -> Any:
    """hfc's P-256 primitives, usable with `cryptography` of today."""
    primitives = ecies()
    primitives.curve = ec.SECP256R1()
    return primitives


def token(caller: Any, method: str, uri: str, body: bytes) -> str:
    """The authorization header of a Fabric CA request in an enrolled identity's name.

    caller: hfc's Enrollment. uri: path and query as sent. body: the bytes as sent.
    """
    certificate = base64.b64encode(caller.cert).decode()
    path, content = base64.b64encode(uri.encode()), base64.b64encode(body)
    signed = f"{method}.{path.decode()}.{content.decode()}.{certificate}".encode()
    key: ec.EllipticCurvePrivateKey = caller.private_key
    signature = to_low_s(key.sign(signed, ec.ECDSA(hashes.SHA256())), curve_order(key))
    return f"{certificate}.{base64.b64encode(signature).decode()}"


class AdaptedClient(CAClient):  # type: ignore[misc]  # hfc ships no types
    """hfc's CAClient with requests of our own making below it.

    Its methods raise IdentityCommandError instead of ValueError and requests' exceptions.
    """

    def generateAuthToken(self, req: object, registrar: Any) -> Any:  # noqa: N802 - hfc's name
        """The caller, in the token's place: what it signs is known only when it is sent."""
        return registrar

    def _send_ca_post(self, path: str, **param: Any) -> tuple[Any, int]:
        return self._send("POST", path, **param)

    def _send_ca_get(self, path: str, **param: Any) -> tuple[Any, int]:
        return self._send("GET", path, **param)

    def _send_ca_update(self, path: str, **param: Any) -> tuple[Any, int]:
        return self._send("PUT", path, **param)

    def _send_ca_delete(self, path: str, **param: Any) -> tuple[Any, int]:
        return self._send("DELETE", path, **param)

    def _send(
        self,
        method: str,
        path: str,
        json: object = None,
        headers: dict[str, Any] | None = None,
        auth: tuple[str, str] | None = None,
        verify: str | None = None,
    ) -> tuple[Any, int]:
        name, mark, query = path.partition("?")
        if name == "certificates":
            query = urllib.parse.unquote_plus(query)
        body = b"" if json is None else jsonlib.dumps(json).encode()
        request = requests.Request(
            method,
            f"{self._base_url}{name}{mark}{query}",
            data=body,
            headers={"Content-Type": "application/json"},
            auth=auth,
        ).prepare()
        caller = (headers or {}).get("Authorization")
        if isinstance(caller, Enrollment):
            uri = request.path_url
            request.headers["Authorization"] = token(caller, method, uri, body)
        answer = self._exchange(request, verify)
        return _result(answer, by_secret=auth is not None), answer.status_code

    def _exchange(self, request: requests.PreparedRequest, verify: str | None) -> requests.Response:
        where = self._base_url
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.send(
                    request, timeout=_TIMEOUTS, verify=verify or True, allow_redirects=False
                )
            except requests.exceptions.SSLError as error:
                raise IdentityCommandError(
                    Code.CA_TLS,
                    f"the certificate of the CA at {where} is not one that --ca-tls vouches for "
                    f"({_short(error)})",
                ) from error
            except requests.exceptions.ReadTimeout as error:
                raise IdentityCommandError(
                    Code.CA_UNREACHABLE,
                    f"the CA at {where} took the request and didn't answer in {_TIMEOUTS[1]:.0f} s:"
                    " it may have been carried out. Run the command again.",
                ) from error
            except (requests.exceptions.RequestException, OSError) as error:
                raise IdentityCommandError(
                    Code.CA_UNREACHABLE, f"no CA answers at {where} ({_short(error)})"
                ) from error


def _short(error: Exception) -> str:
    """The innermost reason of requests' nested ones: no addresses, no retries' history."""
    found: Any = error
    while True:
        inner = getattr(found, "reason", None) or next(
            (item for item in getattr(found, "args", ()) if isinstance(item, Exception)), None
        )
        if not isinstance(inner, Exception):
            break
        found = inner
    return f"{type(found).__name__}: {str(found).rpartition('>: ')[2] or found}"[:200]


def _result(answer: requests.Response, *, by_secret: bool) -> Any:
    """The answer's JSON. Raises IdentityCommandError for a refusal or anything else."""
    try:
        document = answer.json()
        if document["success"]:
            return document
        number, text = _refusal(document)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise IdentityCommandError(
            Code.CA_BAD_ANSWER,
            f"what answers at {answer.url.partition('/api/')[0]} is no Fabric CA "
            f"(HTTP {answer.status_code})",
        ) from error
    if number == _AUTHENTICATION and by_secret:
        raise IdentityCommandError(
            Code.WRONG_SECRET,
            "the CA doesn't take this name with this secret: one of them is wrong, the secret was "
            "used as often as it may be, or the identity is revoked (the CA doesn't say which)",
        )
    if number == _AUTHENTICATION:
        raise IdentityCommandError(Code.CALLER_REFUSED, "the CA doesn't take the certificate")
    raise IdentityCommandError(
        _CODES.get(number, Code.CA_REFUSED), f"the CA refused: {text} (its code {number})"
    )


def _refusal(document: dict[str, Any]) -> tuple[int, str]:
    first = document["errors"][0]
    return int(first["code"]), str(first["message"])
