"""A smaller encoder: what pruning and quantization save, and what they cost."""
