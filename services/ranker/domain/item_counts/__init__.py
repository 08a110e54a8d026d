"""Counts over all persons: items bought or viewed together, items whose popularity rises, intervals of purchases."""
