"""Repositories that the caller may know of: the others are not there, whether they are or not."""

from typing import Any

from moorage.api.manage.routes import Ask
from moorage.errors import NameInvalid, NameUnknown, TagInvalid
from moorage.identity.access.deciding import Action
from moorage.oci.names import RepositoryName, Tag, is_repository_name, is_tag


def check_name(text: str) -> RepositoryName:
    """A repository's name.

    Raises NameInvalid (400).
    """
    if not is_repository_name(text):
        raise NameInvalid(name=text[:255])
    return text


def check_tag(text: str) -> Tag:
    """A tag.

    Raises TagInvalid (400).
    """
    if not is_tag(text):
        raise TagInvalid(tag=text[:140])
    return text


async def check_seen(ask: Ask[Any, Any], action: Action = "pull") -> RepositoryName:
    """The name in the path, of a repository to which the caller may do this, if there is one.

    Raises NameInvalid (400), NameUnknown (404) for who may not even pull, Denied (403).
    """
    name = check_name(ask.path["name"])
    if not await ask.services.gate.may(ask.caller, name, "pull"):
        raise NameUnknown(name=name)
    if action != "pull":
        await ask.services.gate.check_action(ask.caller, name, action)
    return name
