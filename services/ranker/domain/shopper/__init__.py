"""What the shopper model reads of a person and gives: the same code for training and for serving."""
