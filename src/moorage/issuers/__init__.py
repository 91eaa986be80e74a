"""Issuers of tokens at the edge: their documents and keys by HTTPS, kept, and asked for again when due.

Only issuers that the settings name are asked. A connection is made to an address that was looked at first:
none that is private, loopback or link-local unless the settings list it, or whoever can write a document
could have the registry ask the machines around it. No redirect is followed, nothing larger than a megabyte
is read, and no answer is waited for longer than ten seconds.
"""
