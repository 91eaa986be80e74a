"""Images in files: OCI layouts (a folder or a tar) and what `docker save` writes, brought and taken away.

What comes is pushed as a client would push it, by the same use cases; nothing in an archive is ever written
anywhere by the name it has there.
"""
