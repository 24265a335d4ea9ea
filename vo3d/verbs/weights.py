"""The verb that fetches weights."""

# ruff: noqa: PLC0415 (imports inside functions, because `vo3d --help` must not wait for torch)
import sys

from vo3d.errors import Vo3dError


def weights_fetch(name: list[str]) -> None:
    """Fetch weights that others published, from where they were published, and check that they are the ones.

    They go to ~/.cache/vo3d/weights (or $XDG_CACHE_HOME/vo3d/weights), once. No other verb fetches anything.

    Example: vo3d weights fetch itermvs_blendedmvs

    Args:
        name: Names of published weights; vo3d info lists all names.
    """
    from vo3d.inference.cards import fetch_weights

    if not name:
        raise Vo3dError("no name: expected those of published weights, such as itermvs_blendedmvs")
    for one in name:
        path, came = fetch_weights(one)
        sys.stdout.write(f"{one}: {'fetched' if came else 'is here already'}: {path}\n")
