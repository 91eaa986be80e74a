"""Which page stands where."""

from typing import Final

from moorage.api.dispatch import Endpoint, Pages
from moorage.api.gate import Needs
from moorage.web import claim, pages

PAGES: Final[Pages] = {
    b"/claim": {"GET": Endpoint(claim.show, Needs.NOTHING), "POST": Endpoint(claim.take, Needs.NOTHING)},
    b"/style.css": {"GET": Endpoint(pages.style, Needs.NOTHING)},
}
