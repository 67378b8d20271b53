"""A QR wallet: asynchronous, over HTTPS, every message signed with Ed25519.

A payment is created, the payer scans, a signed notice tells how it ended. Sandbox tokens decide.
"""
