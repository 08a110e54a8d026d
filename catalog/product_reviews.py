"""Rows of a file as shoppers' reviews of products, and their import."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
from tqdm import tqdm

from catalog.columns import snake_case
from catalog.dates import parse_time
from catalog.imports import Rejects, Summary
from catalog.numbers import cut, parse_whole_number
from catalog.retries import attempts
from catalog.rows import Row, RowRefused, read_rows
from catalog.text import is_missing, stripped
from kairos.gateway.v1 import product_reviews_pb2
from ops.client import Connection, field_violations
from services.common.limits import MAX_FEEDBACK_TEXT, MAX_RATING

_BATCH = 200
_TIMEOUT_S = 600.0
_REVIEW = re.compile(r"reviews\[(\d+)\]\.(.+)")
_OTHER_NAMES = {"item_id": "product_id", "time": "created_at", "visitor": "visitor_id", "id": "review_id"}


def review_of(values: dict[str, Any]) -> product_reviews_pb2.ProductReview:
    """The review of one row. Without `review_id` it is named by product, person and time: the same row is the same
    review.

    Raises RowRefused.
    """
    row = {snake_case(key): value for key, value in values.items() if not is_missing(value)}
    row = {_OTHER_NAMES.get(key, key): value for key, value in row.items()}
    ids = [stripped(str(row.get(key, ""))) for key in ("review_id", "product_id", "user_id", "visitor_id")]
    review = product_reviews_pb2.ProductReview(review_id=ids[0], product_id=ids[1], user_id=ids[2], visitor_id=ids[3])
    if not review.product_id:
        raise RowRefused("product_id", "is empty; it is required")
    if not (review.user_id or review.visitor_id):
        raise RowRefused("visitor_id", "is empty, and so is user_id; one of them is required")
    rating = parse_whole_number("rating", row.get("rating", ""), MAX_RATING)
    if not rating:
        raise RowRefused("rating", f"is {cut(row.get('rating', ''))}; it is 1 to {MAX_RATING}")
    review.rating = rating
    review.text = str(row.get("text", ""))
    if len(review.text) > MAX_FEEDBACK_TEXT:
        raise RowRefused("text", f"has {len(review.text)} characters; at most {MAX_FEEDBACK_TEXT}")
    if "created_at" in row:
        review.created_at.FromDatetime(parse_time("created_at", row["created_at"]))
    if not review.review_id:
        parts = (review.product_id, review.user_id, review.visitor_id, str(row.get("created_at", "")))
        review.review_id = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    return review


@dataclass
class ProductReviewsImport:
    """`blocked` and `doubted`: reviews that do not count by themselves."""

    connection: Connection
    rejects: Rejects
    summary: Summary = field(default_factory=Summary)
    blocked: int = 0
    doubted: int = 0

    def run(self, path: Path, quiet: bool = False) -> Summary:
        """Raises grpc.RpcError if the gateway refuses a message as a whole."""
        rows = self._good_rows(path)
        with self.connection.stub() as stub, tqdm(unit=" reviews", disable=quiet, desc="Recording") as bar:
            while batch := list(islice(rows, _BATCH)):
                self._send(stub, batch)
                bar.update(len(batch))
        self.rejects.close()
        self.summary.rejected = self.rejects.count
        return self.summary

    def _good_rows(self, path: Path) -> Iterator[tuple[Row, product_reviews_pb2.ProductReview]]:
        for row in read_rows(path):
            self.summary.read += 1
            if row.problem:
                self.rejects.add(row, "row", row.problem)
                continue
            try:
                yield row, review_of(row.values)
            except RowRefused as refused:
                self.rejects.add(row, refused.field, refused.reason)

    def _send(self, stub: Any, batch: list[tuple[Row, product_reviews_pb2.ProductReview]]) -> None:
        message = product_reviews_pb2.ImportProductReviewsRequest(reviews=[review for _, review in batch])
        try:
            for attempt in attempts():
                with attempt:
                    answer = stub.ImportProductReviews(message, timeout=_TIMEOUT_S, metadata=self.connection.metadata)
        except grpc.RpcError as error:
            # All reviews of the message are invalid.
            wrong = _of_reviews(error)
            if not wrong:
                raise
            for index, (row, _) in enumerate(batch):
                self.rejects.add(row, *wrong.get(index, ("row", "was refused")))
            return
        self.summary.imported += answer.recorded_count
        self.summary.duplicates += answer.duplicate_count
        self.blocked += answer.blocked_count
        self.doubted += answer.review_count
        for rejected in answer.rejected:
            self.rejects.add(batch[rejected.index][0], rejected.field, rejected.reason)


def _of_reviews(error: grpc.RpcError) -> dict[int, tuple[str, str]]:
    """By index of a review the field and what is wrong with it, the first of each."""
    found: dict[int, tuple[str, str]] = {}
    for path, reason in field_violations(error):
        if match := _REVIEW.fullmatch(path):
            found.setdefault(int(match[1]), (match[2], reason))
    return found
