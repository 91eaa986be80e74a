"""The certificate that clients see: Moorage's own, or one that the operator brings.

    <data>/tls/authority.pem     key and certificate of this registry's root: ten years; clients trust it
    <data>/tls/server.pem        key and certificate of this server, issued by it: ninety days

Each file is one whole: a key can never stand beside the certificate of another. The root is bound by name
constraints: stolen, it can vouch for this host and for private networks, not for the internet. What is issued
anew is picked up by every worker process; connections that are open go on.
"""
