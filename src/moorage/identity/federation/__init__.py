"""Who signed in elsewhere: tokens of other issuers, and what they are good for here.

CI exchanges a token that its own service signed for one of the registry's (`exchanging.py`); a person
comes back from a provider with a code (`visiting.py`). Either way a token counts only after its signature
by a key that its issuer publishes, its times, its issuer and its audience were checked (`checking.py`);
an issuer that the settings do not name is never asked for anything.
"""
