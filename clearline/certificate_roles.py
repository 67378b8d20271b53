"""The role a consortium's certificate gives its holder, for whoever asks a TLS client for it."""

from __future__ import annotations

import json
from typing import Final

from cryptography import x509

CONNECTOR: Final = "connector"
_ROLE_ATTRIBUTE: Final = "clearline.role"
# Fabric CA's attribute extension: JSON {"attrs": {...}} (fabric-ca lib/attrmgr/attrmgr.go).
_ATTRIBUTES: Final = x509.ObjectIdentifier("1.2.3.4.5.6.7.8.1")


def role_of(leaf: x509.Certificate) -> str:
    """The attribute `clearline.role`, empty for none or what can't be read."""
    try:
        extension = leaf.extensions.get_extension_for_oid(_ATTRIBUTES).value
        if not isinstance(extension, x509.UnrecognizedExtension):
            return ""
        role = json.loads(extension.value)["attrs"].get(_ROLE_ATTRIBUTE, "")
    except (x509.ExtensionNotFound, ValueError, KeyError, TypeError, AttributeError):
        return ""
    return role if isinstance(role, str) else ""
