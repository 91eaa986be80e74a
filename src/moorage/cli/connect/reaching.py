"""The registry that a client is connected to: its address, its root, and what it mirrors."""

import http.client
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from moorage.cli.connect.setup import Mirrored, Registry, is_host, is_registry
from moorage.cli.manage.client import Client, Refused, Unreachable
from moorage.cli.manage.remote import reach, read_address, tls_context, why_not
from moorage.cli.trust import fetch_root
from moorage.config_mirrors import HUB_HOSTS
from moorage.oci.references import DOCKER_HUB

_ANSWERS_WITHIN_S: Final = 15.0


def read_registry(text: str) -> Registry:
    """A registry from `https://HOST:PORT`, `http://...` or `HOST:PORT`, which is HTTPS.

    Raises Unreachable.
    """
    address = read_address(text)
    host = urlsplit(text if "://" in text else f"https://{text}").netloc.lower()
    if not is_host(host):
        raise Unreachable(
            f"{text!r} is no address that clients take: want https://HOST:PORT, no IPv6 address"
        )
    return Registry(address.scheme, host)


def find_root(registry: Registry, authority: Path | None) -> str:
    """PEM of the root by which this registry is verified; empty where it needs none.

    That is so by plain HTTP, and where the system trusts it already, as its clients then do. A root that
    the registry shows is verified to be its own; not whose it is. Ends the command where there is none.

    Raises Unreachable.
    """
    if registry.is_plain:
        return ""
    if authority is not None:
        tls_context(authority)
        root = authority.read_text("utf-8")
    elif _is_verified(registry, tls_context(None)):
        return ""
    else:
        root = ssl.DER_cert_to_PEM_cert(fetch_root(registry.host))
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        alone.load_verify_locations(cadata=root)
    except ssl.SSLError as error:
        raise Unreachable(f"what {registry.host} shows is no certificate") from error
    if not _is_verified(registry, alone):
        raise Unreachable(
            f"the certificate of {registry.host} does not come from"
            f" {authority or 'the root that it shows'}, or is for other names:"
            f" see `moorage doctor {registry.host}`"
        )
    return root


def _is_verified(registry: Registry, context: ssl.SSLContext) -> bool:
    connection = http.client.HTTPSConnection(registry.host, timeout=_ANSWERS_WITHIN_S, context=context)
    try:
        connection.request("GET", "/v2/")
        connection.getresponse().read()
    except ssl.SSLCertVerificationError:
        return False
    except ssl.SSLError as error:
        raise Unreachable(
            f"{registry.host} does not speak TLS ({error.reason or error}). If it is to be plain HTTP, write"
            f" http://{registry.host}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{registry.host} does not answer: {why_not(error)}") from error
    finally:
        connection.close()
    return True


def name_upstreams(names: Sequence[str]) -> list[Mirrored]:
    """Upstreams by the names that were given.

    Raises Unreachable.
    """
    for name in names:
        if not is_host(name):
            raise Unreachable(
                f"{name!r} is no upstream that clients name: want a host, as docker.io or quay.io"
            )
    return [Mirrored(name, (name,) if is_registry(name) else ()) for name in dict.fromkeys(names)]


def ask_upstreams(registry: Registry, credentials: str | None) -> list[Mirrored]:
    """What the registry says that it mirrors.

    Raises Refused, Unreachable.
    """
    client = Client(reach(read_address(registry.url), credentials, None, registry.root))
    found = (_read(each) for each in client.items("upstreams"))
    return [each for each in found if each is not None]


def choose_upstreams(
    registry: Registry, names: Sequence[str], credentials: str | None
) -> tuple[list[Mirrored], str]:
    """The upstreams that were named, or all that the registry tells of, else Docker Hub; and a word on it.

    Raises Unreachable.
    """
    if names:
        chosen, word = _find_named(registry, names, credentials)
        return chosen, " ".join(each for each in (word, _tell_nameless(registry, chosen)) if each)
    try:
        told = ask_upstreams(registry, credentials)
    except Unreachable as trouble:
        why = f"Nothing was found out about the registry ({str(trouble).rstrip('.')})"
    except Refused:
        why = "The registry does not tell us which upstreams it has ($MOORAGE_TOKEN may help)"
    else:
        if told:
            return told, _tell_nameless(registry, told)
        why = "The registry has no upstreams yet (`moorage upstream add`)"
    return name_upstreams([DOCKER_HUB]), f"{why}: this is for {DOCKER_HUB}; name others with --upstream."


def _find_named(
    registry: Registry, names: Sequence[str], credentials: str | None
) -> tuple[list[Mirrored], str]:
    """These upstreams, with all that the registry knows of them if it says so; and a word on it."""
    chosen = name_upstreams(names)
    try:
        known = {each.name: each for each in ask_upstreams(registry, credentials)}
    except Unreachable as trouble:
        return chosen, f"Whether the registry mirrors them was not found out: {str(trouble).rstrip('.')}."
    except Refused:
        return chosen, ""
    missing = [each.name for each in chosen if each.name not in known]
    word = f"The registry does not mirror {', '.join(missing)} (yet)." if missing else ""
    return [known.get(each.name, each) for each in chosen], word


def _tell_nameless(registry: Registry, upstreams: Sequence[Mirrored]) -> str:
    """A word on those that no client can name; empty where there are none."""
    return " ".join(
        f"{each.name} is no host, so clients have no name for it: write {registry.host}/{each.name}/"
        f"REPOSITORY:TAG, or give it a host (`moorage upstream set {each.name} --host HOST`)."
        for each in upstreams
        if not each.hosts
    )


def _read(told: dict[str, Any]) -> Mirrored | None:
    """An upstream; what it is called becomes names of files, so nothing is believed."""
    name = str(told.get("name", ""))
    called = [name] if is_registry(name) else []
    called += [str(each) for each in told.get("hosts", ())]
    # nobody pulls by these: they are where the Hub's API answers
    hosts = tuple(dict.fromkeys(each for each in called if is_host(each) and each not in HUB_HOSTS))
    return Mirrored(name, hosts, bool(told.get("is_root"))) if is_host(name) else None
