"""/claim: where the first administrator comes in, by the link that was printed at the start."""

from moorage.api.exchange import QueryInvalid, Reply, Request
from moorage.api.forms import read_form
from moorage.api.v2.services import Services
from moorage.errors import ClaimInvalid, PasswordRefused, RegistryError
from moorage.identity.accounts.rows import is_claim
from moorage.identity.managing.accounts import create_first_admin
from moorage.identity.tokens.rows import hash_secret
from moorage.oci.names import RepositoryName
from moorage.records.audit.rows import Actor
from moorage.web.pages import render


async def show(services: Services, request: Request, _name: RepositoryName, _reference: str) -> Reply:
    """The form; or, for a link that is no longer good, what to do."""
    try:
        code = dict(request.query()).get("code", "")
    except QueryInvalid:
        code = ""
    if not await is_claim(services.db, hash_secret(code)):
        return _refused(ClaimInvalid())
    return render("claim.html", code=code, name="", refusal="")


async def take(services: Services, request: Request, _name: RepositoryName, _reference: str) -> Reply:
    """Make the administrator; or the form again, with what is wrong."""
    form = dict(await read_form(request))
    code, name, password = (form.get(key, "") for key in ("code", "name", "password"))
    if not services.gate.may_use_password(request):
        return _refused(PasswordRefused())
    try:
        if password != form.get("again"):
            return render("claim.html", 400, code=code, name=name, refusal="The two passwords differ.")
        actor = Actor("claim", services.gate.address(request))
        await create_first_admin(
            services.db, services.passwords, actor, name, password, claim=hash_secret(code)
        )
    except ClaimInvalid as refusal:
        return _refused(refusal)
    except RegistryError as refusal:
        sentence = f"{refusal.message}: {refusal.detail.get('want', refusal.detail)}"
        return render("claim.html", refusal.status, code=code, name=name, refusal=sentence)
    host = services.gate.base(request).partition("://")[2]
    return render("claimed.html", name=name, host=host)


def _refused(refusal: RegistryError) -> Reply:
    return render("claim_refused.html", refusal.status, refusal=refusal.message)
