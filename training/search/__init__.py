"""Training of search: the encoder and the fusion of retrieval's legs."""
