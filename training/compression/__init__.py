"""Compression of the encoder: pruning, quantization, and the measurement of size, latency and quality."""
