"""Training of query understanding on queries generated from the catalogue, labelled by their sources."""
