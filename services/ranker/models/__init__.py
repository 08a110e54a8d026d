"""The model versions that answer: following the registry, choosing a version for a request, scoring in shadow."""
