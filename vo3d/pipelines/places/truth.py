"""Images of a map that are right for a query: by metres, by frames, or by a table."""

from pathlib import Path

import torch

from vo3d.errors import Vo3dError
from vo3d.formats.match_tables import read_match_table
from vo3d.formats.place_names import check_one_zone
from vo3d.inference.place_map import PlaceMap
from vo3d.pipelines.places.images import PlaceViews

WITHIN = 25.0  # metres, as the benchmarks of places count


def right_places(
    place_map: PlaceMap,
    views: PlaceViews,
    *,
    within: float | None = None,
    matches: Path | None = None,
    frames: int | None = None,
) -> tuple[list[set[int]] | None, str]:
    """Find the places in the map that are right for each query, and say by which rule; None where nothing tells.

    Raises:
        Vo3dError: several rules are given, one cannot be applied, or the table does not fit.
    """
    asked = {"--within": within, "--matches": matches, "--frames": frames}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise Vo3dError(f"{' and '.join(given)}: expected one rule of what is right")
    if matches is not None:
        table = read_match_table(matches, list(views.names), [place.name for place in place_map.places])
        return list(map(set, table)), str(matches)
    if frames is not None:
        if frames < 0:
            raise Vo3dError(f"--frames {frames}: expected at least 0")
        count = len(place_map.places)
        near = [set(range(max(0, one - frames), min(count, one + frames + 1))) for one in range(len(views))]
        return near, f"at most {frames} images apart in their order"
    known, at = place_map.positions(), views.positions()
    if known is None or at is None:
        if within is not None:
            blind = str(place_map.folder) if known is None else views.name
            raise Vo3dError(
                f"--within {within:g}: {blind} has no positions: expected names such as @east@north@.jpg, or sequences "
                "with poses"
            )
        return None, ""
    metres = WITHIN if within is None else within
    if not metres >= 0:
        raise Vo3dError(f"--within {metres:g}: expected metres, at least 0")
    check_one_zone((*(place.name for place in place_map.places), *views.names), str(place_map.folder))
    far = torch.cdist(at, known)
    return [set(row.nonzero()[:, 0].tolist()) for row in far <= metres], f"at most {metres:g} m apart"
