"""Query understanding from the catalogue itself: what it was made of labels each query."""
