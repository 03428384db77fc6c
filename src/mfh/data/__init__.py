"""Paired data: the one data type, and one module per source."""
