"""HTTP/1.1 for one ASGI application: connections on asyncio, worker processes that fork.

Parsing is llhttp's, strict, through httptools; what is here is the part that decides a registry's
speed and manners: bodies handed over in large pieces with backpressure both ways, files sent by the
kernel, early answers that reach a client still writing, and an end for whoever only holds on.
It knows nothing of registries. Why not a server from the shelf: docs/decisions/0002.
"""
