"""Layouts: what the columns of a feed mean where the format of a shop system says so.

A layout recognises its columns and turns the rows of a file into rows of one product each. It adds columns with the
names of Kairos's fields, such as `item_group_id` and `attributes.colour`, and leaves the columns of the file as they
are: a mapping can still name them.
"""

from __future__ import annotations

from collections.abc import Collection

from catalog.layouts.google import GOOGLE
from catalog.layouts.layout import PLAIN as PLAIN
from catalog.layouts.layout import Layout as Layout
from catalog.layouts.shopify import SHOPIFY
from catalog.layouts.woocommerce import WOOCOMMERCE

LAYOUTS = (SHOPIFY, WOOCOMMERCE, GOOGLE)


def layout_of(columns: Collection[str]) -> Layout:
    """The layout whose columns these are; PLAIN if it is none of those that Kairos knows."""
    return next((layout for layout in LAYOUTS if layout.matches(columns)), PLAIN)
