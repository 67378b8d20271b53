"""The blockchain's network: topology, identities, genesis, package, lifecycle and engines.
An operator uses it (`clearline network`) to bring a network up, watch it and take it down.
What may enter: what a Fabric network is made of. No payment rules, nothing of another room."""
