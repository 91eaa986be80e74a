"""All checks of a running registry, each as far as the ones before it let it go."""

from http import HTTPStatus
from pathlib import Path

from moorage.cli.doctor import Finding
from moorage.cli.manage.client import Client, Refused
from moorage.cli.manage.remote import reach, read_address
from moorage.cli.probing.line import check_reach, find_line
from moorage.cli.probing.registry import check_bodies, check_clock, check_location, check_ping, check_realm
from moorage.cli.probing.wire import Target

_REPOSITORY = "moorage-doctor/probe"


def visit(text: str, credentials: str | None, authority: Path | None) -> list[Finding]:
    """What is found at an address.

    Raises Unreachable for what is no address, or a file of certificates that holds none.
    """
    address = read_address(text)
    findings = [check_reach(address)]
    if findings[0].state == "problem":
        return findings
    lines, target = find_line(address, authority, is_told="://" in text)
    findings += lines
    if target is None:
        return findings
    ping, answer = check_ping(target)
    findings.append(ping)
    if answer is None:
        return findings
    findings.append(check_clock(answer))
    is_open = answer.status == HTTPStatus.OK
    if not is_open:
        findings.append(check_realm(target, answer))
    findings += check_bodies(target)
    findings.append(_try_upload(target, credentials, authority, is_open=is_open))
    return findings


def _try_upload(target: Target, credentials: str | None, authority: Path | None, *, is_open: bool) -> Finding:
    if is_open:
        return check_location(target, None, _REPOSITORY)
    if credentials is None:
        return Finding("location", "ok", "not tried: give --user or a token that may push")
    if not target.is_trusted:
        return Finding("location", "warning", "not tried: a password or token is not sent over this line")
    try:
        me = Client(reach(target.address, credentials, authority)).get("whoami")
    except Refused as refusal:
        return Finding("location", "problem", f"the password or token is not taken: {refusal}")
    scopes = (me.get("token") or {}).get("scopes") or []
    named = [each["pattern"] for each in scopes if "push" in each["actions"]]
    pattern = named[0] if named else f"{me['name']}/*"
    return check_location(target, credentials, pattern.replace("*", "moorage-doctor"))
