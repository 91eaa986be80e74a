"""Whether the line is encrypted at all."""

from moorage.config import Settings


def uses_tls(settings: Settings) -> bool:
    """TLS wherever others can connect, unless plain HTTP was asked for; on loopback only if TLS was."""
    server = settings.server
    return settings.tls.is_always or not (server.is_loopback or server.insecure_http)
