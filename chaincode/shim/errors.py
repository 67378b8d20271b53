"""What can go wrong between a contract and its peer."""

from __future__ import annotations


class ShimError(Exception):
    """The shim can't do what was asked; the message says what and why."""


class PeerError(ShimError):
    """The peer answered ERROR to a request of this transaction; the message is the peer's."""


class ProtocolError(ShimError):
    """The peer sent what has no place here: the stream ends, the peer connects anew."""


class ProposalError(ShimError):
    """The proposal that came with the transaction can't be read."""
