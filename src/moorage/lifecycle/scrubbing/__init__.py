"""Reading everything again, against its digest: all of the store in rounds, or one image when asked.

A round goes through blobs in the order of their digests, then through manifests. Its cursor is a row, so
that a round goes on where it was cut. What is wrong is withdrawn, and a push brings it back.
"""
