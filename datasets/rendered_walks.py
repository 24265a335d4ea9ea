"""Rendered walks as sets of places: streets by day, and other passes along them at other times, as queries."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from vo3d.datasets.resize import Size, check_size
from vo3d.datasets.views import check_indices
from vo3d.errors import Vo3dError
from vo3d.recording import JoinedRecording, Recording
from vo3d.retrieval_set import Matches, RetrievalDataset, RetrievalSet
from vo3d.sample import Sample
from vo3d.world.recorder import Recorder
from vo3d.world.visit import Time, distinct_seeds
from vo3d.world.walk import Pass, Walk


class PassRecording(Recording):
    """The views of one pass along a place: `image`, `K` and `world_T_cam`, rendered when they are asked for.

    Args:
        one: the pass.
        size: height and width in pixels.
        cache: render all views at the first that is asked for and keep them, instead of the scene.
    """

    def __init__(self, one: Pass, size: Size, *, cache: bool = False) -> None:
        self.name, self.names = one.name, one.names
        self._pass, self._size, self._cache = one, size, cache

    def __len__(self) -> int:
        """Count the views."""
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        """Give a worker the recording without scene and images; it makes its own."""
        return {name: value for name, value in self.__dict__.items() if name not in {"_recorder", "_images"}}

    def poses(self) -> Float64[Tensor, "n 4 4"]:
        """Give `world_T_cam` of every view, metres, in the world of the place."""
        return self._pass.poses

    def clip(self, indices: Sequence[int]) -> Sample:
        """Render the views at `indices`; Vo3dError for an index outside."""
        check_indices(indices, self, "view")
        images = [self._images[index] if self._cache else self._image(self._recorder, index) for index in indices]
        return Sample(
            image=torch.stack(images).float() / 255,
            K=self._camera_matrix().expand(len(indices), 3, 3).clone(),
            world_T_cam=self.poses()[list(indices)],
            scene=self.name,
            index=torch.tensor(list(indices)),
        )

    def _camera_matrix(self) -> Tensor:
        return self._pass.recorder(self._size).camera.K.float()

    def _image(self, recorder: Recorder, index: int) -> UInt8[Tensor, "3 h w"]:
        return recorder.frame(self._pass.indices[index]).image

    @cached_property
    def _recorder(self) -> Recorder:
        return self._pass.recorder(self._size)

    @cached_property
    def _images(self) -> list[UInt8[Tensor, "3 h w"]]:
        recorder = self._pass.recorder(self._size)
        return [self._image(recorder, index) for index in range(len(self))]


class RenderedWalks(RetrievalDataset):
    """Places along rendered streets: a database of each at some times, and queries of it at others.

    The passes of the database go ahead in their own lane; each of the queries goes in a lane of its own, with its
    camera turned, among other movers, and its views lie between those of the database. The worlds of the places are
    put apart, by 100 m beside twice their length. Views are named by place, time, pass and metres of road:
    `0007-night-1/0042m`.

    Args:
        seeds: the places, as numbers or as "first-last"; keep those of training, validation and test apart.
        walk_seed: what the passes are drawn from; another one draws other times, movers, lanes and headings of the
            same places.
        size: height and width in pixels.
        length, spacing, database_times, query_times, passes, turn, traffic, photographs: see `vo3d.world.walk.Walk`.
        metres: images of the database taken at most so far from a query are right.
        by_time: make one set of each query time, `walks-night` and so on, which share the database; else one of all.
        cache: keep rendered images in memory; a pass is rendered whole when its first view is asked for.
        name: of the set, or of the sets before the time.
        options: `images`, `transforms` and `seed`, see `RetrievalDataset`.

    Raises:
        Vo3dError: no seed, a size that is none, metres below the distance from some query to the nearest place, and as
            `Walk`.
    """

    def __init__(
        self,
        seeds: Sequence[int] | str = (0,),
        walk_seed: int = 0,
        size: Size = (120, 160),
        *,
        length: float = 200.0,
        spacing: float = 5.0,
        database_times: Sequence[Time] = ("day",),
        query_times: Sequence[Time] = ("low-sun", "night", "rain", "fog"),
        passes: int = 1,
        turn: float = 15.0,
        traffic: float = 1.0,
        photographs: bool = False,
        metres: float = 10.0,
        by_time: bool = False,
        cache: bool = False,
        name: str = "walks",
        **options: Any,
    ) -> None:
        check_size(size)
        places = distinct_seeds(seeds)
        if not places:
            raise Vo3dError("no seeds of rendered walks: expected at least one place")
        walk = Walk(length, spacing, database_times, query_times, passes, turn, traffic, photographs)

        def joined(role: str, passes: Sequence[list[Pass]]) -> JoinedRecording:
            parts = [PassRecording(one, size, cache=cache) for drawn in passes for one in drawn]
            offsets = [walk.offset(number) for number, drawn in enumerate(passes) for _ in drawn]
            return JoinedRecording(role, parts, torch.stack(offsets))

        database = joined(f"{name}_database", [walk.database(place, walk_seed) for place in places])
        sets = []
        for time in walk.query_times if by_time else (None,):
            called = f"{name}-{time}" if time else name
            queries = joined(f"{called}_queries", [walk.queries(place, walk_seed, time) for place in places])
            sets.append(RetrievalSet(name=called, database=database, queries=queries, matches=Matches(metres=metres)))
        super().__init__(sets, **options)
