"""The supervisor's rules, run over what the auditor derived: pure functions, integers only.

What enters is derived records; what leaves are findings for people. Nothing here decides anything
on the ledger."""
