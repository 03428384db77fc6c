"""`mfh.fit`: search the recipe of a student, say honestly how good it is, and train it once more."""
