"""Recipes: one module per figure, table or dataset of the paper. No mechanisms."""
