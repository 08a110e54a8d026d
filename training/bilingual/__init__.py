"""A bilingual encoder: a student of the English encoder that also reads Chinese."""
