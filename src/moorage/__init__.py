"""Moorage: a container registry for your own network.

Read a `docker push` from the top: `api/v2/dispatch.py` finds the route, one module beside it parses
the request, one use case under `registry/` does the work, `storage/` and `databases/` keep the result.
"""
