"""VGGSound: sound and video of clips, in the authors' layout, prepared, or in tar files."""
