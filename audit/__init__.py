"""The auditor's eyes: re-does every check on the ledger with code and a model of its own.

Only the ledger's bytes and the channel's configuration enter; from `clearline` it takes transport
and enumerations only, so that an error in the contract can't hide in its own verification.
"""
