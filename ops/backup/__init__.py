"""`kairos backup` and `kairos restore`: all that the suite keeps, in one folder with a manifest."""
