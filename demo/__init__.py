"""The demo shop: an invented catalogue with drawn images and simulated shoppers."""
