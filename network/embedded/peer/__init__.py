"""The embedded peer: endorser, gateway service, validator and ledger of one organisation.

May enter: Fabric's own gRPC and protobufs from clients, orderers and chaincode servers.
Started as `python -m network.embedded.peer --config node.json`.
"""
