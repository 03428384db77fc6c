"""VGGSound: sound and video of clips, in the authors' layout, prepared, or in tar files."""

from mfh.data.sources.vggsound.reader import find as find
from mfh.data.sources.vggsound.reader import load as load
from mfh.data.sources.vggsound.reader import row_length as row_length
