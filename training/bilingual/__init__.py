"""A student of the English encoder that reads Chinese too."""
