"""Explanations as people read them: sentences in their language, from catalogues with a template for each statement."""
