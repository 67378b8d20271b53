"""3 Blockchain: the contract (pure decisions), the chaincode shim, and the server that runs both.
What may enter: rules of the payment and Fabric's chaincode stream; no keys but the server's TLS.
Everything here and in clearline/*.py is bound to the chaincode package by its digest."""
