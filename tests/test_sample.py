"""The exchange format: shapes agree, batches are honest."""

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.sample import Sample


def clip(views: int = 2, **fields: object) -> Sample:
    return Sample(image=torch.rand(views, 3, 4, 6), K=torch.eye(3).repeat(views, 1, 1), **fields)


def test_collate_stacks_tensors_and_lists_scenes() -> None:
    batch = Sample.collate(
        [clip(scene="a", time=torch.zeros(2).double()), clip(scene="b", time=torch.ones(2).double())]
    )
    assert batch.image.shape == (2, 2, 3, 4, 6)
    assert batch.scene == ["a", "b"]
    assert batch.time is not None
    assert batch.time[1].tolist() == [1.0, 1.0]


def test_collate_refuses_samples_of_other_fields_or_shapes() -> None:
    with pytest.raises(Vo3dError, match="differ in the fields depth"):
        Sample.collate([clip(depth=torch.ones(2, 4, 6)), clip()])
    with pytest.raises(Vo3dError, match="equal shapes"):
        Sample.collate([clip(2), clip(3)])
    with pytest.raises(Vo3dError, match="empty batch"):
        Sample.collate([])


def test_a_sample_whose_views_disagree_is_refused_where_it_is_built() -> None:
    with pytest.raises(TypeError, match="K"):
        Sample(image=torch.rand(2, 3, 4, 6), K=torch.eye(3).repeat(3, 1, 1))


def test_to_moves_every_tensor_and_keeps_dtypes() -> None:
    moved = clip(time=torch.zeros(2).double(), index=torch.arange(2)).to("meta")
    tensors = [getattr(moved, name) for name in moved.given() if name != "scene"]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.time is not None
    assert moved.time.dtype == torch.float64
