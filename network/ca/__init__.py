"""Identities from a Fabric CA server: enrol, register, renew, revoke, and its list of revoked ones.
The same folders and profiles as the development issuing (network/identities.py) writes.
What may enter: Fabric CA's client (hfc.fabric_ca), keys and certificates on disk, the command."""
