"""Blobs: bytes by digest, kept once and served from the repositories that hold them.

Life: an upload is committed (`uploads`) or a blob of another repository is mounted; a link row says
which repository may serve it; a deletion removes the link. The bytes lie in a file that carries a
generation in its name, so that a late delete can only hit a dead one.

What must hold: a live row has its file; a link's blob is live; what a client was told it need not
send (201, HEAD 200, mount) is leased to that repository for 24 hours.
"""
