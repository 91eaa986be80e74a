"""How a page is rendered: everything in it escaped, nothing in it run, nowhere kept, in no one's frame."""

from typing import Any, Final

from moorage.api.exchange import NOSNIFF, Header, Reply, Request
from moorage.api.v2.services import Services
from moorage.oci.names import RepositoryName
from moorage.web.templating import templates

_POLICY: Final = (
    b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_STYLE: Final = """\
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2733; max-width: 44rem; margin: 3rem auto }
main { padding: 0 1rem }
h1 { font-size: 1.5rem } label { display: block; margin: 1rem 0 .25rem }
input { font: inherit; padding: .4rem .6rem; width: 100%; box-sizing: border-box }
button { font: inherit; margin-top: 1.5rem; padding: .5rem 1.2rem }
pre { background: #eef2f6; padding: .8rem 1rem; overflow-x: auto } .refused { color: #a11 }
@media (prefers-color-scheme: dark) { body { background: #12181f; color: #dbe3ec } pre { background: #1d2630 }
  a { color: #8bf } .refused { color: #f88 } }
"""


def render(template: str, status: int = 200, headers: tuple[Header, ...] = (), **values: Any) -> Reply:
    """A page from a template of this package."""
    body = templates().get_template(template).render(values).encode()
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


async def style(_services: Services, _request: Request, _name: RepositoryName, _reference: str) -> Reply:
    """The one style sheet."""
    body = _STYLE.encode()
    headers = [
        (b"content-type", b"text/css; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"max-age=3600"),
        NOSNIFF,
    ]
    return Reply(200, headers, body)
