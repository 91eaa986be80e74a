"""Accounts, groups, namespaces and grants as a file: read, compared with what is, made so.

    document.py    the file: what it may say, and its mistakes
    present.py     what is now, from the API; and as a file
    difference.py  what has to be done, pure

A key that the file has is the whole truth about that key: `members` are all the members. What the file does
not name is left alone, or with `--prune` removed.
"""
