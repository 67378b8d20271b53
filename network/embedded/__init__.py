"""Fabric's nodes in pure Python: one orderer, peers that endorse, validate and commit.
They speak Fabric's own gRPC and protobufs; nothing above can tell them from Fabric's.
What may enter: Fabric's server side, its source cited. No payment rules."""
