"""A bank's access to the network: merchants' signed intents in, committed answers out.
Two processes: the HTTP workers (`serve`) and the one that speaks to the ledger (`committer`).
What may enter: REST, admission, the commit queue's use, a projection of the ledger to read from."""
