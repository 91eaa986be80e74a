"""Repositories: names under which images are kept.

A repository begins with the first blob or manifest that is put into it and stays known when its last
tag is deleted. Whether content exists is always asked of a repository, never of the whole store:
knowing a digest opens nothing.
"""
