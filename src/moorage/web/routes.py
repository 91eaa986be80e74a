"""Which page stands where."""

from typing import Final

from moorage.api.dispatch import Endpoint, Pages
from moorage.api.gate import Needs
from moorage.web import claim, pages, sign_in

PAGES: Final[Pages] = {
    b"/claim": {"GET": Endpoint(claim.show, Needs.NOTHING), "POST": Endpoint(claim.take, Needs.NOTHING)},
    b"/sign-in": {"GET": Endpoint(sign_in.begin, Needs.NOTHING)},
    b"/sign-in/callback": {"GET": Endpoint(sign_in.finish, Needs.NOTHING)},
    b"/style.css": {"GET": Endpoint(pages.style, Needs.NOTHING)},
}
