"""What an account may do with which repository, and why.

A namespace is the first part of a repository's name: owned by an account or a group, public or private.
A grant gives an account, a group or everyone actions on the repositories of a pattern. One pure function
(`deciding.py`) decides and names the rule that did.
"""
