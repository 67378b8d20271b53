"""Acquiring channels: stand-ins for companies outside the network, one folder each.

They speak their own protocol on real sockets and keep their own book. Of `clearline` they import
logging and nothing else, of the other rooms nothing: they are other companies.
"""
