"""The connector: an acquiring bank's daemon between its peer and one acquirer.

It follows its peer's blocks, verifies again, forwards what it stored, and signs what came back.
What may enter: a payment's way to an acquirer; each acquirer's protocol in a folder of its own.
"""
