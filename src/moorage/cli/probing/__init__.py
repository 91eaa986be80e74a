"""A registry looked at from where its clients are: the line, the certificate, what a proxy does in between.

Nothing is believed of a certificate that is not trusted, and no password or token is sent over such a line.
"""
