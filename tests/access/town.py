"""A small town for the tests: who lives there, which places there are, and who may do what where.

`RIGHTS` is the whole model: whatever it does not say is not allowed.
"""

from typing import Final, Literal

from tests.access.people import People, basic
from tests.content import digest_of, image

Place = Literal["public", "own", "foreign", "missing"]

PLACES: Final[dict[Place, str]] = {
    "public": "open/app",
    "own": "team/app",
    "foreign": "alien/app",
    "missing": "ghost/app",
}
"""`own` is the reader's, the writer's and the robots' team's; `foreign` the stranger's."""

RIGHTS: Final[dict[str, dict[Place, str]]] = {
    "anonymous": {"public": "pull"},
    "reader": {"public": "pull", "own": "pull"},
    "writer": {"public": "pull", "own": "pull push delete"},
    "stranger": {"public": "pull", "foreign": "pull push delete"},
    "robot-pull": {"public": "pull", "own": "pull"},
    "robot-push": {"public": "pull", "own": "pull push"},
    "auditor": {"public": "pull", "own": "pull", "foreign": "pull", "missing": "pull"},
    "admin": dict.fromkeys(PLACES, "pull push delete"),
    "expired": {},
    "wrong audience": {},
}

CONFIG: Final = b"{}"
LAYERS: Final[dict[Place, bytes]] = {place: f"a layer in {name}".encode() for place, name in PLACES.items()}
"""Each place's own content, which no other has."""


def may(who: str, action: str, place: Place) -> bool:
    """Whether the model allows it."""
    return action in RIGHTS[who].get(place, "").split()


def settle(people: People) -> None:
    """Everyone moves in; an image is pushed to each place but the missing one."""
    people.add("admin", role="admin")
    people.add("auditor", role="auditor")
    people.add("reader")
    people.add("writer")
    people.add("stranger")
    people.add("robot", kind="robot")
    people.add_namespace("open", is_public=True)
    people.add_namespace("team")
    people.add_namespace("alien", "stranger")
    people.give("reader", "team/*", "pull")
    people.give("writer", "team/*", "push", "delete")
    people.give("robot", "team/*", "push", "delete")
    for place, name in PLACES.items():
        if place != "missing":
            people.push(name, basic("admin"), image(CONFIG, [LAYERS[place]]), LAYERS[place], CONFIG)


def digest_in(place: Place) -> str:
    """The digest of the layer that is in this place only."""
    return digest_of(LAYERS[place])
