"""Changing who there is and what they may do.

One module for each noun. A use case checks who may do it as far as the route cannot, then makes the change
and its audit row in one transaction.
"""
