"""An organisation's list of revoked certificates, put where every node reads it: the channel.

A list counts from the block that carries it, whatever its dates say (msp/mspimplvalidate.go), so
revoking at the CA alone refuses nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from fabric_protos.msp import msp_config_pb2

from network import channelchange
from network.administration import AdministrationError
from network.ca.enrolment import Member
from network.ca.errors import Code, IdentityCommandError
from network.ca.registry import RevocationList
from network.channelchange import Administrator, Change, ChannelChangeError, Failure

_CODES: Final = {
    Failure.REFUSED: Code.UPDATE_REFUSED,
    Failure.UNKNOWN: Code.UPDATE_UNKNOWN,
}


@dataclass(frozen=True)
class PutList:
    """Edits a common.Config: the list takes the place of the issuer's older one.

    It does so wherever the organisation is a member, as peers' and as orderers' organisation:
    Fabric refuses two definitions of one MSP (common/channelconfig/msp.go). A list of the same
    certificates changes nothing.
    """

    msp_id: str
    found: RevocationList

    def __call__(self, config: Any) -> None:
        """Raises IdentityCommandError `crl_forgets` when the older list names others."""
        for value in _definitions(config, self.msp_id):
            outer = msp_config_pb2.MSPConfig.FromString(value.value)
            inner = msp_config_pb2.FabricMSPConfig.FromString(outer.config)
            kept, known = self._split(inner.revocation_list)
            forgotten = known - self.found.serials
            if forgotten:
                raise IdentityCommandError(
                    Code.CRL_FORGETS,
                    f"the channel has {len(forgotten)} certificate(s) revoked that this list "
                    f"doesn't name (serial {min(forgotten):x}): they would be taken again. Is "
                    "the list an old one, or the CA's database restored from before?",
                )
            if known == self.found.serials:
                continue
            del inner.revocation_list[:]
            inner.revocation_list.extend([*kept, self.found.pem])
            outer.config = inner.SerializeToString(deterministic=True)
            value.value = outer.SerializeToString(deterministic=True)

    def _split(self, lists: Sequence[bytes]) -> tuple[list[bytes], frozenset[int]]:
        """Other CAs' lists, and the serials that this CA's present ones name."""
        kept: list[bytes] = []
        known: set[int] = set()
        for raw in lists:
            read = x509.load_pem_x509_crl if raw.startswith(b"-----") else x509.load_der_x509_crl
            crl = read(raw)
            if crl.issuer == self.found.issuer.subject:
                known.update(item.serial_number for item in crl)
            else:
                kept.append(raw)
        return kept, frozenset(known)


def _definitions(config: Any, msp_id: str) -> Iterator[Any]:
    """The MSP values (common.ConfigValue) of an organisation, by MSP id."""
    for section in ("Application", "Orderer"):
        for group in config.channel_group.groups[section].groups.values():
            if "MSP" not in group.values:
                continue
            value = group.values["MSP"]
            outer = msp_config_pb2.MSPConfig.FromString(value.value)
            if msp_config_pb2.FabricMSPConfig.FromString(outer.config).name == msp_id:
                yield value


async def apply(member: Member, found: RevocationList, signers: Sequence[Administrator]) -> Change:
    """Put the list into the channel's configuration and wait until the peers have it.

    Raises IdentityCommandError, ProfileError, IdentityError.
    """
    edit = PutList(member.organization.name, found)
    try:
        return await channelchange.change(member.home, member.topology, edit, signers)
    except ChannelChangeError as error:
        raise IdentityCommandError(_CODES[error.failure], str(error)) from error
    except AdministrationError as error:
        raise IdentityCommandError(Code.UPDATE_UNKNOWN, str(error)) from error
