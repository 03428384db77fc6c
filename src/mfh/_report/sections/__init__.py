"""One module for each section of a page: its part of the summary, its tables, its figures, its words."""
