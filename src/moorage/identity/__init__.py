"""Who may do what: accounts, what they are allowed, and the tokens by which they say who they are."""
