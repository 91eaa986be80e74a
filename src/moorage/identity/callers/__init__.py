"""Who sends a request, from its `Authorization` header, and what that lets them do.

A caller is an account or no one, and may be limited twice: by the token that stands for the account, and
by the bearer token given for either. What is allowed is always what all of them allow now.
"""
