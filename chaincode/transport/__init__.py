"""gRPC's bidirectional calls over HTTP/2 and mutual TLS, server side, on asyncio: bytes in and out.

docs/adr/0015 says why this is not grpcio's server. It knows nothing of chaincode.
"""
