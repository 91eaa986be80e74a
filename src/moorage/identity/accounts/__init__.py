"""People and robots, and the groups they are in.

A person has a password, or signs in elsewhere; a robot has tokens only. Names are plain ASCII, and two
that look alike cannot both be taken.
"""
