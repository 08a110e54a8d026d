"""The FAQ: how a question is compared with the questions of the entries, and how likely an entry answers it."""
