"""Checks that models' configs have in common. Each raises InvalidRequestError that names the field and its value."""

from typing import Any

from recstack.errors import InvalidRequestError


def check_positive(config: Any, *names: str) -> None:
    """Numbers that must be 1 or more."""
    for name in names:
        if getattr(config, name) < 1:
            raise InvalidRequestError(f"{name} is {getattr(config, name)}; it must be 1 or more")


def check_sizes(config: Any, *names: str) -> None:
    """Tuples of one or more numbers, each of which must be 1 or more."""
    for name in names:
        sizes = getattr(config, name)
        if not sizes or min(sizes) < 1:
            raise InvalidRequestError(f"{name} is {sizes}; give one or more sizes of 1 or more")


def check_shares(config: Any, *names: str) -> None:
    """Numbers that must be at least 0 and below 1."""
    for name in names:
        if not 0 <= getattr(config, name) < 1:
            raise InvalidRequestError(f"{name} is {getattr(config, name)}; it must be at least 0 and below 1")


def check_heads(config: Any, width: str) -> None:
    """A width that must be a multiple of `config.heads`."""
    dim, heads = getattr(config, width), config.heads
    if dim % heads:
        raise InvalidRequestError(f"{width} is {dim}; it must be a multiple of heads, {heads}")


def check_names(config: Any, name: str, known: tuple[str, ...]) -> None:
    """A tuple of one or more names that are known, each once."""
    given = getattr(config, name)
    if not given or len(set(given)) < len(given) or not set(given) <= set(known):
        raise InvalidRequestError(f"{name} is {given}; name one or more of {known}, each once")
