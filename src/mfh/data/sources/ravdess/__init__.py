"""RAVDESS: speech and faces of 24 actors, from the archives on Zenodo to samples."""
