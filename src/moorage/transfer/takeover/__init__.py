"""Taking over the folder of another registry, while it serves or after: what is there is brought here.

Read what a repository holds there -> plan what of it is wanted here (pure) -> for a few manifests at a time:
their blobs' files linked, then their rows, then their tags. Whatever is here already is left alone, so it
may be done again and again, and goes on where it was interrupted. What was moved or deleted here since
stays as it is here; what is broken there is reported and left out.
"""
