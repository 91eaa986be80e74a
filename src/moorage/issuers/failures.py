"""How asking an issuer ends when it does not end well."""


class AskedInVain(Exception):
    """An issuer was asked in vain; the sentence is for an operator."""
