"""What a registry says to its clients, and what a proxy in front of it makes of that."""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, urlsplit

from moorage.cli.doctor import Finding
from moorage.cli.manage.client import Refused, Unreachable
from moorage.cli.manage.remote import Address, read_address
from moorage.cli.probing.wire import Answer, NoAnswer, Target, ask
from moorage.setting import MIB

_API: Final = ("docker-distribution-api-version", "registry/2.0")
_SKEW_WARNED_S: Final = 30
_SKEW_WRONG_S: Final = 240
_BODIES: Final = (2 * MIB, 64 * MIB)
_NO_UPLOAD: Final = "/v2/moorage-doctor/blobs/uploads/00000000-0000-0000-0000-000000000000"
_PUBLIC: Final = 'server.public = ["{scheme}://{address}"]'
# challenge ::= "Bearer" 1*SP name "=" quoted *( "," name "=" quoted )
_FIELD: Final = re.compile(r'(\w+)="([^"]*)"')


def check_ping(target: Target) -> tuple[Finding, Answer | None]:
    """Whether it is a registry that answers at /v2/."""
    try:
        answer = ask(target, "GET", "/v2/")
    except NoAnswer as failure:
        return Finding("registry", "problem", f"no answer to GET /v2/: {failure}"), None
    if answer.status in {502, 503, 504} and not answer.codes:
        said = (
            f"status {answer.status} from a proxy{answer.server}: it does not reach Moorage; is that running?"
        )
        return Finding("registry", "problem", said), None
    if answer.headers.get(_API[0]) != _API[1] or answer.status not in {200, 401}:
        said = (
            f"status {answer.status} at /v2/{answer.server}, without a registry's header: something else"
            " answers, or a proxy has another path for it or strips headers; /v2/ must be passed on as it is"
        )
        return Finding("registry", "problem", said), None
    said = "a registry; it asks who one is" if answer.status == 401 else "a registry, open to everyone"  # noqa: PLR2004
    is_exposed = answer.status == 200 and not target.is_trusted  # noqa: PLR2004
    return Finding("registry", "warning" if is_exposed else "ok", said), answer


def check_clock(answer: Answer) -> Finding:
    """Whether its clock and this machine's agree: tokens live for minutes."""
    try:
        at = parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return Finding("clock", "warning", "the answer has no date, so the clocks could not be compared")
    skew = round(at - time.time())
    said = f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} this machine"
    if abs(skew) >= _SKEW_WRONG_S:
        return Finding("clock", "problem", f"{said}: tokens will be refused; set both by NTP")
    if abs(skew) >= _SKEW_WARNED_S:
        return Finding("clock", "warning", f"{said}: set both by NTP")
    return Finding("clock", "ok", "agrees with this machine's")


def check_realm(target: Target, answer: Answer) -> Finding:
    """Whether clients are sent for their token to where they came from."""
    challenge = answer.headers.get("www-authenticate", "")
    if challenge.lower().startswith("basic"):
        said = "a proxy in front asks for passwords itself; Moorage's accounts and tokens are not used"
        return Finding("realm", "warning", f"{said}. Leave that to Moorage")
    realm = dict(_FIELD.findall(challenge)).get("realm", "")
    own = f"{target.scheme}://{target.address}"
    hint = (
        f"set {_PUBLIC.format(scheme=target.scheme, address=_plainly(target.address))}, or list the proxy in"
        " server.proxies and let it send X-Forwarded-Proto and X-Forwarded-Host"
    )
    try:
        there = read_address(realm.removesuffix(urlsplit(realm).path))
    except (Unreachable, ValueError):
        return Finding(
            "realm", "problem", f"status 401 with a challenge that leads nowhere: {challenge[:120]!a}"
        )
    if there != target.address:
        return Finding("realm", "problem", f"clients of {own} are sent to {realm!a} for their token: {hint}")
    service = dict(_FIELD.findall(challenge)).get("service", "")
    try:
        token = ask(target, "GET", f"{urlsplit(realm).path}?service={quote(service)}")
    except NoAnswer as failure:
        return Finding("realm", "problem", f"{realm} does not answer: {failure}")
    if token.status not in {200, 401, 429} or not (token.codes or b'"token"' in token.body):
        said = f"{realm} answers {token.status}{token.server}: a proxy has to pass that path on too"
        return Finding("realm", "problem", said)
    return Finding("realm", "ok", realm)


def check_bodies(target: Target) -> list[Finding]:
    """Whether something in between limits bodies.

    A chunk for an upload that is not there is to be refused by Moorage, whatever its size.
    """
    for size in _BODIES:
        shown = f"{size // MIB} MiB"
        try:
            answer = ask(target, "PATCH", _NO_UPLOAD, body_bytes=size)
        except NoAnswer as failure:
            said = f"a chunk of {shown} got no answer ({failure}): see the limits of the proxy in between"
            return [Finding("bodies", "problem", said)]
        if answer.codes and answer.status in {401, 403, 404}:
            continue
        said = f"a chunk of {shown} was answered {answer.status}{answer.server}, not by Moorage"
        if answer.status == 413:  # noqa: PLR2004 - content too large
            said += ": a proxy limits bodies. nginx: client_max_body_size 0; Apache: LimitRequestBody 0"
        return [Finding("bodies", "problem", said)]
    return [Finding("bodies", "ok", f"chunks of {_BODIES[-1] // MIB} MiB come through")]


def check_location(target: Target, credentials: str | None, repository: str) -> Finding:
    """Whether an upload is said to be where it is: begins one and takes it back."""
    headers = {} if credentials is None else {"Authorization": credentials}
    try:
        answer = ask(target, "POST", f"/v2/{repository}/blobs/uploads/", headers)
        location = answer.headers.get("location", "")
        if answer.status != 202 or not location:  # noqa: PLR2004 - accepted
            said = f"an upload to {repository} was answered {answer.status} {','.join(answer.codes)}"
            return Finding("location", "warning", f"{said}: give credentials that may push there")
        wrong = _find_wrong_location(target, location)
        ask(target, "DELETE", urlsplit(location).path, headers)
    except NoAnswer as failure:
        return Finding("location", "problem", f"an upload could not be begun: {failure}")
    if wrong:
        return Finding("location", "problem", wrong)
    return Finding("location", "ok", "uploads go on where they began")


def _find_wrong_location(target: Target, location: str) -> str | None:
    if location.startswith("/") and not location.startswith("//"):
        return None
    try:
        there = read_address("{0.scheme}://{0.netloc}".format(urlsplit(location)))
    except (Unreachable, Refused):
        there = None
    if there == target.address:
        return None
    return (
        f"an upload begun at {target.scheme}://{target.address} is sent on to {location[:120]!a}:"
        " a proxy rewrites Location (nginx: proxy_redirect off)"
    )


def _plainly(address: Address) -> str:
    """Without a port that goes without saying."""
    text = str(address)
    return text.removesuffix(":443") if address.scheme == "https" else text.removesuffix(":80")
