"""A client of Hyperledger Fabric in Python, in the shape of the official fabric-gateway API.
Rooms use it to evaluate, endorse, submit, follow blocks and queue commits.
What may enter: Fabric's client side and its protobufs. No payment rules, no server code."""
