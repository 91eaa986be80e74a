"""The commands that manage accounts and what they may do: each calls the API, here or over the network.

Locally they work on the data folder, as the operator, whether or not `moorage serve` runs on it. With
`--registry` they ask a registry over the network, with a token or a password, and may what that may.
"""
