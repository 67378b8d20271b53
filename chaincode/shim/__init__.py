"""The chaincode's side of Fabric's stream: chaincode as a service, in asyncio.
What may enter: protocol (messages, streams, keys, iterators, identity), nothing of payments.
Reference: Fabric core/chaincode/handler.go (peer) and fabric-chaincode-go v2 shim/."""
