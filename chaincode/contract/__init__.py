"""The contract's decisions: a list of items and the records read in, outcomes and writes out.
What may enter: rules. No clock, no I/O, no ledger handle, no randomness, no floats, no
environment, no order of a set: every endorser must answer the same bytes."""
