"""Tags: names that move.

A tag points to a manifest of its own repository; moving it is one statement in the transaction that
stores the manifest, and every move leaves a `tag_event` behind, which nothing changes again.
"""
