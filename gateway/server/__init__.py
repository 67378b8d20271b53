"""Connections: from a TCP accept to a whole request in a thread, and its answer back out.
A client that is slow, silent or one too many costs a place in a table here, never a thread.
What may enter: TLS, the framing of HTTP/1.1, deadlines, threads. gunicorn parses and answers."""
