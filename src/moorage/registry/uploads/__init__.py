"""Uploads: blobs on their way in.

Life: begun by a POST, fed by PATCHes or one PUT, closed by a PUT that names the digest; or cancelled,
or expired. The row says how many bytes count; the file may hold more after a crash, never fewer of
what was acknowledged. One request at a time writes to an upload, whichever process serves it.

What must hold: bytes are counted when they are synced; a blob is live when its file is synced and
renamed, its directory synced and its row committed, in this order, and only then is the client told.
"""
