"""Who may call what: Fabric's default access control list.

After core/aclmgmt/defaultaclprovider.go and core/policy/policy.go. A channel's configuration may
name other policies for channel resources.
"""

from __future__ import annotations

from typing import Any

from fabric_protos.msp import msp_principal_pb2

from network.embedded.channelconfig import APPLICATION_READERS, APPLICATION_WRITERS, Bundle
from network.embedded.msp import Identity, MSPError, MSPManager
from network.embedded.policies import PolicyError, SignedData

_ADMINS, _MEMBERS = "Admins", "Members"

_LOCAL = {
    "_lifecycle/InstallChaincode": _ADMINS,
    "_lifecycle/QueryInstalledChaincode": _ADMINS,
    "_lifecycle/GetInstalledChaincodePackage": _ADMINS,
    "_lifecycle/QueryInstalledChaincodes": _ADMINS,
    "_lifecycle/ApproveChaincodeDefinitionForMyOrg": _ADMINS,
    "_lifecycle/QueryApprovedChaincodeDefinition": _ADMINS,
    "_lifecycle/QueryApprovedChaincodeDefinitions": _ADMINS,
    "cscc/JoinChain": _ADMINS,
    "cscc/JoinChainBySnapshot": _ADMINS,
    "cscc/JoinBySnapshotStatus": _ADMINS,
    "cscc/GetChannels": _MEMBERS,
}

_CHANNEL = {
    "_lifecycle/CommitChaincodeDefinition": APPLICATION_WRITERS,
    "_lifecycle/QueryChaincodeDefinition": APPLICATION_WRITERS,
    "_lifecycle/QueryChaincodeDefinitions": APPLICATION_WRITERS,
    "_lifecycle/CheckCommitReadiness": APPLICATION_WRITERS,
    "qscc/GetChainInfo": APPLICATION_READERS,
    "qscc/GetBlockByNumber": APPLICATION_READERS,
    "qscc/GetBlockByHash": APPLICATION_READERS,
    "qscc/GetTransactionByID": APPLICATION_READERS,
    "qscc/GetBlockByTxID": APPLICATION_READERS,
    "cscc/GetConfigBlock": APPLICATION_READERS,
    "cscc/GetChannelConfig": APPLICATION_READERS,
    "peer/Propose": APPLICATION_WRITERS,
    "gateway/CommitStatus": APPLICATION_READERS,
    "gateway/ChaincodeEvents": APPLICATION_READERS,
}


class AccessError(Exception):
    """The caller may not do this; the text is Fabric's."""


class AccessControl:
    """Checks callers against the peer's own organisation or a channel's policies."""

    def __init__(self, msp_id: str, local: MSPManager) -> None:
        """`local` holds the peer's own MSP alone."""
        self._msp_id = msp_id
        self._local = local

    def check(
        self, resource: str, bundle: Bundle | None, signed: SignedData, channel_id: str = ""
    ) -> None:
        """Raises AccessError; `bundle` is the channel's, None when there is no such channel."""
        role = _LOCAL.get(resource)
        if role is not None:
            self._check_local(role, signed)
            return
        default = _CHANNEL.get(resource)
        if default is None:
            raise AccessError(f"Unmapped policy for {resource}")
        if bundle is None and not channel_id:
            # Fabric takes the channel's policy for one of the local MSP's roles.
            raise AccessError(
                "Failed getting local MSP principal during channelless check policy with policy "
                f"[{default}]: [MSP Principal role [{default}] not recognized]"
            )
        if bundle is None:
            raise AccessError(f"Failed to get policy manager for channel [{channel_id}]")
        name = bundle.acl(resource, default)
        try:
            bundle.policy(name).evaluate([signed])
        except PolicyError as error:
            raise _denied(bundle, name, error) from error

    def check_proposer(self, bundle: Bundle, creator: Identity) -> None:
        """Whether a creator, whose signature was checked, may propose on a channel.

        Raises AccessError.
        """
        name = bundle.acl("peer/Propose", _CHANNEL["peer/Propose"])
        try:
            bundle.policy(name).evaluate_identities([creator])
        except PolicyError as error:
            raise _denied(bundle, name, error) from error

    def _check_local(self, role: str, signed: SignedData) -> None:
        try:
            identity = self._local.deserialize(signed.identity)
        except MSPError as error:
            raise AccessError(
                "Failed deserializing proposal creator during channelless check policy with "
                f"policy [{role}]: [{error}]"
            ) from error
        try:
            identity.check_principal(role_principal(self._msp_id, role))
        except MSPError as error:
            raise AccessError(
                "Failed verifying that proposal's creator satisfies local MSP principal during "
                f"channelless check policy with policy [{role}]: [{error}]"
            ) from error
        try:
            identity.verify(signed.data, signed.signature)
        except MSPError as error:
            raise AccessError(str(error)) from error


def _denied(bundle: Bundle, policy: str, error: PolicyError) -> AccessError:
    return AccessError(
        "Failed evaluating policy on signed data during check policy on channel "
        f"[{bundle.channel_id}] with policy [{policy}]: [{error}]"
    )


def role_principal(msp_id: str, role: str) -> Any:
    """The msp.MSPPrincipal of an organisation's Admins or Members."""
    kinds = {_ADMINS: msp_principal_pb2.MSPRole.ADMIN, _MEMBERS: msp_principal_pb2.MSPRole.MEMBER}
    content = msp_principal_pb2.MSPRole(msp_identifier=msp_id, role=kinds[role])
    return msp_principal_pb2.MSPPrincipal(
        principal_classification=msp_principal_pb2.MSPPrincipal.ROLE,
        principal=content.SerializeToString(),
    )
