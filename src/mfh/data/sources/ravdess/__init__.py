"""RAVDESS: speech and faces of 24 actors, from the archives on Zenodo to samples."""

from mfh.data.sources.ravdess.reader import NormalizeAudio as NormalizeAudio
from mfh.data.sources.ravdess.reader import NormalizeImage as NormalizeImage
from mfh.data.sources.ravdess.reader import load as load
