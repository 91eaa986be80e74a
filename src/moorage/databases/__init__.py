"""Rows at the edge: implements the port in `database.py`."""
