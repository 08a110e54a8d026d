"""The product tower: text, picture and relative price become one vector; any of them may be missing."""
