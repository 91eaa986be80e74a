"""The audit: one row for each change, each sign-in by password and each refusal of a known caller.

A change's row is written in the change's own transaction, so there is none without the other. Rows are
only ever added; the database itself refuses to change or remove one.
"""
