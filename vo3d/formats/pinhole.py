"""Check a matrix of intrinsics, whatever file it comes from."""

from jaxtyping import Float64
from torch import Tensor

from vo3d.errors import Vo3dError

LARGEST_K = 1e6  # pixels, of any entry: no lens is as long as a million pixels, no image as wide


def check_pinhole(K: Float64[Tensor, "3 3"], place: str) -> None:
    """Raise Vo3dError, which begins with `place`, unless K is [[fx, skew, cx], [0, fy, cy], [0, 0, 1]].

    fx and fy lie above zero, and no entry is NaN or beyond `LARGEST_K` pixels.
    """
    (fx, skew, cx), (below, fy, cy), last = K.tolist()
    if fx == 0 or fy == 0:
        raise Vo3dError(f"{place}: K is singular (fx {fx:g}, fy {fy:g}): expected focal lengths in pixels: correct K")
    if not (fx > 0 and fy > 0 and below == 0 and last == [0, 0, 1] and bool(K.isfinite().all())):
        raise Vo3dError(
            f"{place}: K is no matrix of a pinhole camera ({' '.join(f'{value:g}' for value in K.flatten().tolist())}):"
            " expected fx skew cx, 0 fy cy, 0 0 1 with fx and fy above 0"
        )
    largest = max(fx, fy, abs(skew), abs(cx), abs(cy))
    if largest > LARGEST_K:
        raise Vo3dError(f"{place}: K has an entry of {largest:g}: expected pixels, up to {LARGEST_K:g}: correct K")
