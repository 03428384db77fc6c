"""Networks, one module per family, and their weights."""
