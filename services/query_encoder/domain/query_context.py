"""The vectors of a query, and the context that moves them: the session and the category that the shopper is in."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.arrays import FloatArray
from services.common.session_mixing import SessionMixing


@dataclass(frozen=True)
class QueryContext:
    """`session` is a vector of the session so far, shape [dimensions]; None: no session. `session_version` names the
    model that made it. `category` has the words of the category; empty: no category. `session_follows`: the caller
    mixes a session into the vector of the query and category.
    """

    session: FloatArray | None = None
    session_version: str = ""
    category: str = ""
    session_follows: bool = False


@dataclass(frozen=True)
class QueryVectors:
    """Vectors of one query by one model, each of shape [dimensions]. All are None if the model does not know the text.

    `plain` is the vector of the text alone, `in_context` the one that retrieval gets, `mixing` how a session that
    follows moves it.
    """

    model_version: str
    plain: FloatArray | None
    in_context: FloatArray | None
    mixing: SessionMixing | None = None


def in_category(query: FloatArray, category: FloatArray | None, alpha: float, beta: float) -> FloatArray:
    """alpha * query + beta * category, scaled to length 1; both have shape [dimensions] and length 1.

    The answer is `query` itself without a category, and if the category cancels it out.
    """
    if category is None:
        return query
    mixed = SessionMixing(alpha * query, beta).mixed(category)
    return query if mixed is None else mixed


def session_mixing(query: FloatArray, category: FloatArray | None, alpha: float, beta: float) -> SessionMixing:
    """alpha * query + beta * mean(session, category), as far as it is known without the session."""
    if category is None:
        return SessionMixing(alpha * query, beta)
    return SessionMixing(alpha * query + beta / 2 * category, beta / 2)
