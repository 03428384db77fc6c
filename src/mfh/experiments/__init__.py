"""Recipes: one module per figure, table or data set of the paper."""
