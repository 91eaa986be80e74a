"""What stands for an account without its password.

A token is 256 random bits, shown once and kept as a hash: made by its owner for a machine, kept by docker
instead of a password, or given for a token of another issuer. A bearer token is what the registry signs
for one of those, or for a password, and takes back for five minutes: it says who and for what, and
whether that still holds is looked up each time.
"""
