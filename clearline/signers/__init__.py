"""Who holds a signing key, and how it is reached: a file, a PKCS#11 token, a service of the bank's.
A key in a file signs at once; the others are asked beside the event loop, again until they answer.
What may enter: settings of a key, its holders, the protocol of the service. No word of what for."""
