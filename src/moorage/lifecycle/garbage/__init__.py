"""Garbage: bytes that nothing needs any more, taken from the disk while everything goes on.

Life: a lease that is over is a question: does anything refer to what it kept? If nothing does, the
repository's link goes; a blob without links and references is marked `deleting` in the transaction that
proved it, which every read respects; its file of exactly that generation is removed; then its row.

What must hold: nothing that a tag, an index, a subject, the trash or a lease reaches is ever removed;
no listing of files is a proof; no lock is held for longer than a batch; a run costs what there is to
remove, not what there is.
"""
