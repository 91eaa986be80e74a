"""Copying images from one place to another: registries, OCI layouts, what docker saves.

A copy goes child before parent and names a tag last, so what stops half-way leaves nothing half: run again
it finds what is there and brings the rest. Manifests go byte for byte.
"""
