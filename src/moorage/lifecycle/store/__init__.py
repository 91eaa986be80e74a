"""Whether rows and files belong together: what was seen of it, and what is mistrusted.

The database's sequence is raised once a minute, and then written to a file beside it. A file that is ahead
of the database means that the database was put back, or lost its log: rows of later pushes are gone, and
their files look like garbage. The store is mistrusted from then on, and no garbage is collected, until an
operator has had it checked and accepted what is lost.
"""
