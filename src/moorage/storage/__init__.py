"""Bytes at the edge: where blobs and uploads are kept. Implements the port in `registry/blobs/store.py`."""
