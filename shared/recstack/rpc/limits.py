"""Checks of request values. Each raises `InvalidRequestError` that names the field, the value and the limit."""

from collections.abc import Sized

from recstack.errors import InvalidRequestError

MAX_ID = 2**63 - 1


def check_range(field: str, value: int | float, low: int | float, high: int | float) -> None:
    """Require low <= value <= high."""
    if not low <= value <= high:
        raise InvalidRequestError(f"{field} is {value}; it must be between {low} and {high}")


def check_user_id(user_id: int) -> None:
    """Require a user id >= 0."""
    check_range("user_id", user_id, 0, MAX_ID)


def check_count(field: str, values: Sized, low: int, high: int) -> None:
    """Require low <= len(values) <= high."""
    if not low <= len(values) <= high:
        raise InvalidRequestError(f"{field} has {len(values)} entries; it must have between {low} and {high}")


def check_columns(**columns: Sized) -> None:
    """Require parallel columns of one length."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidRequestError(f"parallel columns must have one length; got {lengths}")
