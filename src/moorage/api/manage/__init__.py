"""The JSON API under /api/v1, by which accounts and what they may do are managed.

One table (`table.py`) says of each operation its method, path, rights, body, query and reply. Routing,
checks, decoding and the OpenAPI document are all made from it.
"""
