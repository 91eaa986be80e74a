"""Images as people look for them: a repository's tags with what is known of each, in an order of one's own.

What is shown is read when it is asked for; nothing here is written, and nothing here decides.
"""
