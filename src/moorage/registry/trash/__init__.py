"""The trash: what was deleted, and can be brought back until its time is over.

Life: a deletion takes a manifest, the tags of it, and the children and referrers that are of no use
without it; none of them is served any more. It is restored as a whole, with its tags, or purged when
`purge_at` has come; only then does what it refers to begin to be garbage. A repository that is deleted
keeps all it has under a name that no client can say.

What must hold: what is in the trash is not served; what it refers to stays on disk; no tag points into it.
"""
