"""`kairos train`: reads catalogue and log from a running suite, trains what they suffice for, and publishes it."""
