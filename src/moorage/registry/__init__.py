"""What the registry holds: manifests, tags, uploads, blobs, repositories; each a room of its own.

Imports run one way: manifests -> tags | uploads -> blobs -> repositories.
"""
