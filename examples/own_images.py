"""Write images as your own would lie: a folder a split and class, and a file of groups beside them.

python examples/own_images.py [FOLDER]    writes FOLDER, datasets/mine if none is named.

They are scikit-learn's handwritten threes and fives. The groups are the tenth of each class with the most ink, and with
the least.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = {3: "three", 5: "five"}


def main(folder: str = "datasets/mine") -> None:
    """Write the images, the last fifth of each class as the test split, and groups.csv."""
    digits, rows = load_digits(), []
    for label, name in CLASSES.items():
        images = digits.images[digits.target == label]
        trained = round(0.8 * len(images))
        rank = pd.Series(images[:trained].sum(axis=(1, 2))).rank(pct=True)
        for i, image in enumerate(images):
            path = Path("train" if i < trained else "test", name, f"{i:03}.png")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image / 16 * 255).astype(np.uint8)).save(folder / path)
            if i < trained and not 0.1 < rank[i] <= 0.9:
                rows.append({"example": path.as_posix(), "group": "bold" if rank[i] > 0.9 else "thin"})
    pd.DataFrame(rows).to_csv(Path(folder, "groups.csv"), index=False, lineterminator="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
