"""The distribution protocol under /v2/, endpoint by endpoint.

`dispatch.py` has the table of routes in the specification's order; each module beside it holds the
endpoints of one noun. Source: distribution-spec main (967efdc).
"""
