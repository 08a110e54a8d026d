"""The answer to a request without a query: brands are capped; where wanted, similar items are spread and places shared."""
