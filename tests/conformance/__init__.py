"""The official OCI distribution conformance suite against Moorage: `python -m tests.conformance`.

The suite is a Go program built once into `.tools/bin`. Its exit code proves nothing (it is 0 when its own
configuration fails to load), so `gate.py` judges what it wrote.
"""
