"""`moorage connect`: a client's own configuration, so that the names it uses anyway go through a registry.

Each client has a module that says which files it reads and what stands in them; `files` shows, writes and
takes back, and knows no client.
"""
