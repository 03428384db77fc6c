"""Where samples come from: one module or package for each data set or file format."""
