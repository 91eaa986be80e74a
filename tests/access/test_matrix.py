"""Everyone, on every route, in every place: each cell as the model in `town.py` says.

The routes are the dispatcher's own; one that has no entry here fails the build.
"""

from typing import Final, NamedTuple

import pytest

from moorage.api import dispatch, operations
from moorage.web.routes import PAGES
from tests.access.people import People, basic, bearer
from tests.access.town import PLACES, RIGHTS, Place, digest_in, may
from tests.content import ABSENT
from tests.inputs.wire import Fields, Reply


class Cell(NamedTuple):
    """A request that is good but for who sends it, and what it is answered where it is let in."""

    action: str
    path: str
    status: int
    in_missing: int
    body: bytes | None = None


# What a route needs, and how the one that may use it is answered. Nothing here changes what others see:
# what is deleted is not there, what is pushed is no manifest, and uploads are the caller's own.
ROUTES: Final[dict[tuple[str, str], Cell]] = {
    ("blob", "GET"): Cell("pull", "blobs/{digest}", 200, 404),
    ("blob", "HEAD"): Cell("pull", "blobs/{digest}", 200, 404),
    ("blob", "DELETE"): Cell("delete", f"blobs/{ABSENT}", 404, 404),
    ("manifest", "GET"): Cell("pull", "manifests/v1", 200, 404),
    ("manifest", "HEAD"): Cell("pull", "manifests/v1", 200, 404),
    ("manifest", "PUT"): Cell("push", "manifests/v2", 400, 400, b"{}"),
    ("manifest", "DELETE"): Cell("delete", f"manifests/{ABSENT}", 404, 404),
    ("uploads", "POST"): Cell("push", "blobs/uploads/", 202, 202),
    ("upload", "GET"): Cell("push", "{upload}", 204, 204),
    ("upload", "PATCH"): Cell("push", "{upload}", 202, 202, b"a chunk"),
    ("upload", "PUT"): Cell("push", f"{{upload}}?digest={ABSENT}", 400, 400, b"a chunk"),
    ("upload", "DELETE"): Cell("push", "{upload}", 204, 204),
    ("tags", "GET"): Cell("pull", "tags/list", 200, 404),
    ("referrers", "GET"): Cell("pull", "referrers/{digest}", 200, 200),
}

SIGNED_IN: Final = ("reader", "writer", "stranger", "robot-pull", "robot-push", "auditor", "admin")
PLAIN_ROUTES: Final[dict[str, tuple[str, ...]]] = {
    "/healthz": ("nothing at all", "anonymous", *SIGNED_IN, "expired", "wrong audience"),
    "/readyz": ("nothing at all", "anonymous", *SIGNED_IN, "expired", "wrong audience"),
    "/metrics": ("auditor", "admin"),
    "/v2/": ("anonymous", *SIGNED_IN),
    "/v2/_catalog": ("anonymous", *SIGNED_IN),
}
"""Who may ask for what belongs to no repository. `anonymous` has a bearer token that says so."""

PAGE_STATUSES: Final = {"/claim": 403, "/style.css": 200, "/sign-in": 404, "/sign-in/callback": 404}
"""Pages are for anyone; without its code there is nothing to claim, without a provider no one to ask."""

MEANS: Final = [
    ("anonymous", "nothing"),
    ("anonymous", "bearer"),
    *((who, means) for who in SIGNED_IN for means in ("basic", "bearer")),
    ("robot-pull", "token"),
    ("robot-push", "token"),
    ("expired", "bearer"),
    ("wrong audience", "bearer"),
]


class Visitor:
    """One caller, by one means."""

    def __init__(self, town: People, who: str, means: str, secrets: dict[str, str]) -> None:
        self._town = town
        self.who = who
        self.means = means
        self._secrets = secrets

    def header(self, scope: str, access: tuple[str, str]) -> Fields:
        """What they send to do something for which a client would ask for this scope."""
        match self.means, self.who:
            case "nothing", _:
                return []
            case "token", _:
                return bearer(self._secrets[self.who])
            case "bearer", "expired":
                return bearer(self._town.forge(account="admin", access=[access], exp=1_700_000_000))
            case "bearer", "wrong audience":
                return bearer(self._town.forge(account="admin", access=[access], aud="another"))
            case "bearer", _:
                return self._town.bearer(self._basic(), scope)
            case _:
                return self._basic()

    def _basic(self) -> Fields:
        if self.who == "anonymous":
            return []
        return basic("robot", self._secrets[self.who]) if self.who in self._secrets else basic(self.who)

    @property
    def refusal(self) -> int:
        """Who is known by Basic is told 403; for the rest another token may help."""
        return 403 if self.means in {"basic", "token"} else 401


@pytest.fixture(scope="module")
def secrets(town: People) -> dict[str, str]:
    """The robots' tokens, each for less than the robot may do."""
    return {
        "robot-pull": town.make_token("robot", ("team/*", "pull"))[1],
        "robot-push": town.make_token("robot", ("team/*", "push"))[1],
    }


@pytest.fixture(params=MEANS, ids=" by ".join)
def visitor(request: pytest.FixtureRequest, town: People, secrets: dict[str, str]) -> Visitor:
    who, means = request.param
    return Visitor(town, who, means, secrets)


def test_every_route_has_an_entry() -> None:
    endpoints = {(route, method) for route, methods in dispatch._ENDPOINTS.items() for method in methods}

    assert endpoints == set(ROUTES)
    assert {*(path.decode() for path in operations.NEEDS), "/v2/", "/v2/_catalog"} == set(PLAIN_ROUTES)
    assert {path.decode() for path in PAGES} == set(PAGE_STATUSES)
    assert set(dispatch._PING) == {"GET", "HEAD"}
    assert set(dispatch._CATALOG) == {"GET"}


@pytest.mark.parametrize("place", PLACES)
def test_every_cell_is_as_the_model_says(town: People, visitor: Visitor, place: Place) -> None:
    name = PLACES[place]
    header = visitor.header(f"repository:{name}:pull,push,delete", (name, "pull,push,delete"))

    wrong = [
        f"{method} {route} of {name} by {visitor.who}: {reply.status}, not {expected}; {reply.body!r}"
        for (route, method), cell in ROUTES.items()
        for reply, expected in [_try(town, visitor, header, place, method, cell)]
        if reply.status != expected
    ]

    assert not wrong


def _try(
    town: People, visitor: Visitor, header: Fields, place: Place, method: str, cell: Cell
) -> tuple[Reply, int]:
    is_allowed = may(visitor.who, cell.action, place)
    expected = visitor.refusal
    if is_allowed:
        expected = cell.in_missing if place == "missing" else cell.status
    path = f"/v2/{PLACES[place]}/{cell.path.format(digest=digest_in(place), upload='{upload}')}"
    if "{upload}" in cell.path:
        begun = town.begin(PLACES[place], header if is_allowed else basic("admin"))
        path = begun + cell.path.removeprefix("{upload}").format()
    return town.ask(method, path, header, cell.body), expected


@pytest.mark.parametrize("path", PLAIN_ROUTES)
def test_every_plain_route_is_as_the_model_says(town: People, visitor: Visitor, path: str) -> None:
    header = visitor.header("registry:catalog:*", ("team/app", "pull"))
    allowed = PLAIN_ROUTES[path]
    is_allowed = visitor.who in allowed and (visitor.means != "nothing" or "nothing at all" in allowed)
    expected = 200 if is_allowed else visitor.refusal
    if path == "/metrics" and visitor.means == "bearer" and visitor.who in SIGNED_IN:
        # its scopes name repositories, and no scope is for this
        expected = 403

    assert town.ask("GET", path, header).status == expected


@pytest.mark.parametrize("path", PAGE_STATUSES)
def test_every_page_is_for_anyone(town: People, visitor: Visitor, path: str) -> None:
    header = visitor.header("registry:catalog:*", ("team/app", "pull"))

    assert town.ask("GET", path, header).status == PAGE_STATUSES[path]


def test_the_model_says_no_to_whom_it_does_not_name() -> None:
    assert {who for who, _ in MEANS} == set(RIGHTS)
