"""Other registries at the edge: asked over HTTP, with what each of them wants to know of who asks.

    client.py, pushing.py     what is asked of a registry: the port `Registry`, and what a push needs
    asking.py                 one question: challenges answered, redirects followed
    tokens.py challenges.py   what is shown, and to whom
    places.py                 where a registry may lead whoever asks it
    manifests.py headers.py failures.py    what comes, read and checked
    connections.py resolving.py            the only ones that know aiohttp, loaded for the first question
    docker_config.py          credentials where docker keeps them, for the command line

A registry is trusted with the credentials that are kept for it, and with nothing else. They go to its own
host, and to a token service of its own site by https; a redirect elsewhere is followed without them. A
connection is made to an address that was looked at first: none that is private, loopback or link-local
unless the settings list it. Whatever comes has a largest size and a longest time, is never unpacked, and is
compared with its digest as soon as all of it is here.
"""
