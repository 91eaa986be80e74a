"""What each setting is made of: its default, its meaning, and a type of number that an operator writes."""

from dataclasses import field
from typing import Any, TypeVar

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

T = TypeVar("T")


class Bytes(int):
    """A number of bytes; written as `4MiB`, `1GiB` or a plain number."""


def setting(default: T, meaning: str) -> T:
    """A field with its default and its meaning, one sentence or two for an operator."""
    return field(default=default, metadata={"meaning": meaning})


def required(meaning: str) -> Any:
    """A field of a table that has no default."""
    return field(metadata={"meaning": meaning})
