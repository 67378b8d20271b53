"""A bank's desk: it registers entities, accounts, merchants, acquirers and their keys.
A bank's maker proposes and its checker decides, each with an identity of their own.
What may enter: what a bank's clerks do, and its signing key held apart. No payments' way."""
