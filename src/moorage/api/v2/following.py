"""Pulls by a name that a repository had before it was renamed.

Only what was not found is looked for so, and only for who may pull by both names. A push is to the name that
it says, so whoever asks whether something is there in order to push is told of that name alone: a yes would
let them leave out what the repository that their push makes does not have.
"""

from moorage.api.exchange import Reply, Request
from moorage.api.v2.services import Answer, Services
from moorage.errors import BlobUnknown, ManifestUnknown, NameUnknown
from moorage.oci.names import RepositoryName
from moorage.registry.repositories.rows import find_renamed


def following(answer: Answer) -> Answer:
    """The same endpoint, which answers by a repository's old name too."""

    async def follow(services: Services, request: Request, name: RepositoryName, reference: str) -> Reply:
        try:
            return await answer(services, request, name, reference)
        except (NameUnknown, ManifestUnknown, BlobUnknown) as refusal:
            renamed = await find_new_name(services, request, name)
            if renamed is None or not await _may_be_told(services, request, name, refusal):
                raise
        return await answer(services, request, renamed, reference)

    return follow


async def find_new_name(services: Services, request: Request, name: RepositoryName) -> RepositoryName | None:
    """The name that a repository has now which had this one; None also where the caller may not pull it.

    A bearer token was given for the old name, so it is whoever it was given to that has to be allowed.
    """
    renamed = await find_renamed(services.db, name)
    if renamed is None:
        return None
    decision = await services.callers.decide(request.caller, renamed, "pull")
    return renamed if decision.is_allowed else None


async def _may_be_told(
    services: Services,
    request: Request,
    name: RepositoryName,
    refusal: BlobUnknown | ManifestUnknown | NameUnknown,
) -> bool:
    """Whether this is no question that a push begins with.

    Where no one signs in, pulls and pushes cannot be told apart: there a manifest is taken to be asked for
    by a pull, a blob by a push.
    """
    if request.method != "HEAD":
        return True
    if request.caller.is_unasked:
        return not isinstance(refusal, BlobUnknown)
    return not await services.gate.may(request.caller, name, "push")
