"""The answer to a request without a query: brands are capped; similar items may be spread, and places shared."""
