"""Upstreams of the settings, with their secrets read from the files that the settings name."""

from pathlib import Path
from typing import cast

from moorage.config_mirrors import AlternativeSettings, MirrorSettings, UpstreamSettings
from moorage.errors import FieldInvalid
from moorage.mirrors.pinning import read_pin
from moorage.mirrors.upstreams import Address, AlternativesMay, Upstream


class UpstreamsUnusable(ValueError):
    """A file that the settings name, or a pin, cannot be used; the sentence says which and why."""


def configured_upstreams(settings: MirrorSettings) -> tuple[Upstream, ...]:
    """Those that stand in the settings. Reads files: at the start.

    Raises UpstreamsUnusable.
    """
    return tuple(_upstream(each) for each in settings.upstreams)


def _upstream(stated: UpstreamSettings) -> Upstream:
    where = f"mirrors.upstreams: {stated.name}"
    upstream = Upstream(
        name=stated.name,
        address=_address(where, stated.address, stated),
        hosts=stated.called,
        alternatives=tuple(_address(where, each.url, each) for each in stated.alternatives),
        alternatives_may=cast("AlternativesMay", stated.alternatives_may),
        is_root=stated.root,
        include=stated.include,
        exclude=stated.exclude,
        platforms=stated.platforms,
        pins=stated.pins,
        freshness_ms=int(stated.freshness.total_seconds() * 1000),
        budget_bytes=stated.budget,
        bandwidth=stated.bandwidth,
        is_configured=True,
    )
    for pin in upstream.pins:
        try:
            read_pin(upstream, pin)
        except FieldInvalid as refusal:
            raise UpstreamsUnusable(f"{where}: pins: {pin!r}: {refusal.detail.get('reason')}") from refusal
    return upstream


def _address(where: str, url: str, stated: UpstreamSettings | AlternativeSettings) -> Address:
    return Address(
        url.rstrip("/"),
        stated.username,
        _read(where, "password_file", stated.password_file),
        _read(where, "authority_file", stated.authority_file),
    )


def _read(where: str, key: str, path: Path | None) -> str:
    """Raises UpstreamsUnusable."""
    if path is None:
        return ""
    try:
        text = path.read_text("utf-8").strip()
    except OSError as error:
        raise UpstreamsUnusable(f"{where}: {key}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UpstreamsUnusable(f"{where}: {key}: {path}: no text") from error
    if not text:
        raise UpstreamsUnusable(f"{where}: {key}: {path}: nothing in it")
    return text
