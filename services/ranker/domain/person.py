"""Whose history an event, a request or an impression belongs to."""

from __future__ import annotations

_USER, _VISITOR = "user:", "visitor:"


def person_key(user_id: str, visitor_id: str) -> str:
    """The key of a signed-in user or of an anonymous visitor, which never collide; empty if neither is known.

    What names both belongs to the user. After a merge the store also finds the user by the visitor's key.
    """
    if user_id:
        return _USER + user_id
    return _VISITOR + visitor_id if visitor_id else ""


def ids_of(person: str) -> tuple[str, str]:
    """(user id, visitor id) of a key; one of them is empty."""
    if is_visitor(person):
        return "", person.removeprefix(_VISITOR)
    return person.removeprefix(_USER), ""


def is_visitor(person: str) -> bool:
    return person.startswith(_VISITOR)
