"""The answer to a request without a query: brands capped; similar items spread and places shared among interests, where wanted."""
