"""From settings to a signer: at once for a file, asked beside the loop for what is elsewhere."""

from __future__ import annotations

from clearline.jws import KeySigner
from clearline.signers.distant import DistantSigner
from clearline.signers.holders import FileHolder, Holder, KnownKey
from clearline.signers.in_thread import InThread
from clearline.signers.pkcs11_token import TokenHolder
from clearline.signers.remote import RemoteHolder
from clearline.signers.settings import FileKey, RemoteKey, SignerSettings, SignerSettingsError


def open_signer(settings: SignerSettings) -> KeySigner | DistantSigner:
    """The signer these settings name; it is not asked for anything yet.

    Raises JwsError for a key file that is none, SignerSettingsError for what can't be used.
    """
    if isinstance(settings, FileKey):
        return load_key(settings)
    key = KnownKey.load(settings.public_key)
    holder: Holder
    if isinstance(settings, RemoteKey):
        holder = RemoteHolder(settings, key.key_id)
    else:
        holder = TokenHolder(settings, key.key.algorithm)
    return DistantSigner(key, InThread(holder, settings.timeout_seconds))


def open_holder(settings: SignerSettings) -> tuple[KnownKey, Holder]:
    """The key and its holder, for whoever signs for others. Raises as `open_signer`."""
    if isinstance(settings, RemoteKey):
        raise SignerSettingsError("signer: a service holds its key itself: file or pkcs11")
    if isinstance(settings, FileKey):
        signer = load_key(settings)
        return KnownKey(signer.public_key, signer.key_id), FileHolder(signer)
    key = KnownKey.load(settings.public_key)
    return key, TokenHolder(settings, key.key.algorithm)


def load_key(settings: FileKey) -> KeySigner:
    """The key in a file. Raises JwsError."""
    return KeySigner.load(settings.path)
