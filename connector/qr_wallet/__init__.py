"""The adapter to a QR wallet: HTTPS, signed messages, the payer acts later.

What may enter: what this acquirer's document says. Files as for every acquirer.
"""
