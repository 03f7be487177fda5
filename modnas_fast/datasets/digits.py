"""The embedded default: scikit-learn's 1,797 handwritten digits of 8 × 8 pixels, offline."""

from __future__ import annotations

import numpy as np
import torch

from modnas_fast.datasets.task import Split


def load_digits() -> tuple[Split, tuple[str, ...]]:
    """All 1,797 images [1, 8, 8] with their labels, and the ten class names "0" to "9".

    The values 0..16 become 0..255 as (255 v + 8) // 16, in whole numbers. Source: the test part of Alpaydin &
    Kaynak's "Optical Recognition of Handwritten Digits" (UCI), as packed in scikit-learn.

    >>> split, classes = load_digits()
    >>> tuple(split.images.shape), int(split.images.max()), classes[:3]
    ((1797, 1, 8, 8), 255, ('0', '1', '2'))
    """
    from sklearn import datasets  # here, because it takes a second and other tasks do without it

    digits = datasets.load_digits()
    values = (255 * digits.images.astype(np.int64) + 8) // 16
    images = torch.from_numpy(values.astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    return Split(images, labels), tuple(str(digit) for digit in range(10))
