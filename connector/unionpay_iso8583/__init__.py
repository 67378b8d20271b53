"""The adapter for UnionPay's sandbox: ISO 8583:1987 over TLS, framing and MAC of our own.

`adapter.py` has the verbs, `messages.py` native to ours and back, `wire.py` socket and MAC.
"""
