"""Webhooks: what is committed is told to merchants, at least once, in order for each payment.
A third process (`notifier`) follows the blocks by itself, so that no receiver slows payments.
What may enter: the outbox, registrations, the rules for targets, sending, their REST resources."""
