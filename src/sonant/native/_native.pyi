import numpy as np
from numpy.typing import NDArray

def runs(
    log_probs: NDArray[np.float32],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], float]: ...
