"""Write datasets/breast_cancer.npz: scikit-learn's 569 tumours by 30 features, and two groups by the cells' radius.

Every fifth row is the test split. train_group names the tumours that look like the other class: small-malignant, whose
mean radius is one that nine tenths of the benign ones are below, and large-benign, the tenth of the benign above it.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer


def main() -> None:
    """Split the rows and name the groups."""
    data = load_breast_cancer()
    x, y, radius = data.data.astype(np.float32), data.target, data.data[:, 0]
    malignant = y == 0
    bound = np.quantile(radius[~malignant], 0.9)
    group = np.select(
        [malignant & (radius < bound), ~malignant & (radius > bound)], ["small-malignant", "large-benign"], ""
    )
    test = np.arange(len(y)) % 5 == 4
    np.savez(
        "datasets/breast_cancer.npz",
        train_x=x[~test],
        train_y=y[~test],
        test_x=x[test],
        test_y=y[test],
        train_group=group[~test],
    )
    print({str(name): int((group[~test] == name).sum()) for name in np.unique(group)}, np.bincount(y[~test]))


if __name__ == "__main__":
    main()
