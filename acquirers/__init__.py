"""Acquiring channels: stand-ins for companies outside the network, one folder each.

They speak their own protocol on real sockets and keep their own book. They import nothing of the
other rooms, and of `clearline` only logging and money codes: they are other companies.
"""
