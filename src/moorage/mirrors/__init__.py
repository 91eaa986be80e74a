"""Content of other registries, fetched once when it is asked for, kept, and served when the line is down.

A mirrored repository is one like any other, named after its upstream: `docker.io/library/nginx`. Its
manifests are kept as they came and may be here before what they point at; a blob comes when it is first
asked for. Nothing is kept that does not match its digest, and no tag moves but as an upstream says.
"""
