"""A page from its template, with the headers that every page has."""

from typing import Any, Final

from jinja2 import Environment, PackageLoader

from moorage.api.exchange import NOSNIFF, Header, Reply

_POLICY: Final = (
    b"default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_environment = Environment(loader=PackageLoader("moorage.web"), autoescape=True, trim_blocks=True)


def render(template: str, status: int = 200, headers: tuple[Header, ...] = (), **values: Any) -> Reply:
    """A page. Nothing of it is kept by anyone, framed by another site, or told to one."""
    body = _environment.get_template(template).render(values).encode()
    return Reply(
        status,
        [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"content-security-policy", _POLICY),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
            NOSNIFF,
            *headers,
        ],
        body,
    )
