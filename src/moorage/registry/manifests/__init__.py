"""Manifests: documents that make blobs into images, images into indexes, and things into referrers.

Kept as the bytes that came, served with the type that came. The edges are written in the same
transaction, so no one parses storage again to know what a manifest needs.

What must hold: when a manifest is stored, all it points at is in its repository; the manifest, its
edges and its tags appear together or not at all.
"""
