"""Write datasets/groups.csv: digits of mnist5k in a rare style, by their pixels alone.

bold, thin : the tenth of each class with the most, and with the least, ink
slanted : the tenth of each class that leans farthest to the right, by the image's second moments
"""

from pathlib import Path

import numpy as np
import pandas as pd

from edgewise.sources import SOURCES


def slant(images: np.ndarray) -> np.ndarray:
    """How far the strokes of images [n, H, W] move to the right a pixel upwards, [n]."""
    mass = images / images.sum(axis=(1, 2), keepdims=True)
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    dy = y - (mass * y).sum(axis=(1, 2), keepdims=True)
    dx = x - (mass * x).sum(axis=(1, 2), keepdims=True)
    return -(mass * dx * dy).sum(axis=(1, 2)) / (mass * dy**2).sum(axis=(1, 2))


def main() -> None:
    """Rank every class by ink and by slant, and write the ends as groups."""
    source = SOURCES["mnist5k"](Path())
    images = source.train_images(np.arange(len(source.train_labels)))[:, 0]
    measured = pd.DataFrame({"ink": images.sum(axis=(1, 2)), "slant": slant(images)})
    rank = measured.groupby(source.train_labels).rank(pct=True)
    styles = {"bold": rank["ink"] > 0.9, "thin": rank["ink"] <= 0.1, "slanted": rank["slant"] > 0.9}
    rows = [
        {"example": example, "group": group} for group, style in styles.items() for example in np.flatnonzero(style)
    ]
    pd.DataFrame(rows).to_csv("datasets/groups.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
