"""What can go wrong with identities, each with a code that stays."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Stable codes of identity errors; docs/identities.md says what to do about each."""

    CA_UNREACHABLE = "ca_unreachable"
    CA_TLS = "ca_tls"
    CA_INSECURE = "ca_insecure"
    CA_BAD_ANSWER = "ca_bad_answer"
    CA_REFUSED = "ca_refused"
    CA_UNKNOWN = "ca_unknown"
    CALLER_REFUSED = "caller_refused"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a code, not a secret
    NO_SECRET = "no_secret"  # noqa: S105
    ALREADY_REGISTERED = "already_registered"
    NOT_REGISTERED = "not_registered"
    NOT_AUTHORISED = "not_authorised"
    REVOKED = "revoked"
    NOT_ENROLLED = "not_enrolled"
    ALREADY_ENROLLED = "already_enrolled"
    EXPIRED = "identity_expired"
    UNTRUSTED_CA = "untrusted_ca"
    WRONG_CERTIFICATE = "wrong_certificate"
    WRONG_TYPE = "wrong_type"
    UNREADABLE = "unreadable_identity"
    BAD_CRL = "bad_crl"
    CRL_FORGETS = "crl_forgets"
    UPDATE_REFUSED = "update_refused"
    UPDATE_UNKNOWN = "update_unknown"


class IdentityCommandError(Exception):
    """Something that was not done: a stable `code`; the text says why and what to do."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
