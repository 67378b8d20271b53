"""The transaction request: a merchant's order book, its signed intents, its HTTP client.
A merchant runs it beside its own order system; an order is paid only when a bank's signature says
so. What may enter: what a merchant needs. No gRPC, no ledger, nothing of another room."""
