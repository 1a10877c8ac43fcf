"""Types of the arrays from which the world is drawn."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Canvas", "Floats", "Indices"]

Floats: TypeAlias = NDArray[np.float64]
"""Positions, directions, times and other quantities of the world."""
Indices: TypeAlias = NDArray[np.int64]
"""Rows and columns of pixels."""
Canvas: TypeAlias = NDArray[np.float32]
"""Pictures that are being painted, and what is computed for each of their pixels."""
