"""Next-item prediction (sequential recommendation) over the whole catalogue, offline. No service uses it yet."""
