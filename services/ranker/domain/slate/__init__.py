"""The answer to a request without a query: interests share the places, similar items are spread, brands capped."""
