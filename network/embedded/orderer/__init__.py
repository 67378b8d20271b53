"""The ordering service of the embedded engine: one process, one node, no consensus.

Broadcast, block cutting, signing and durable storage of blocks; configuration updates. Nothing
that executes or validates transactions may enter: that is the peer's.
"""
