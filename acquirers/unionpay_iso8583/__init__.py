"""A card acquirer that speaks ISO 8583:1987 over TLS, after UnionPay's shape.

Framing, codec and MAC are this company's own; the connector has its own (docs/acquirers.md).
"""
