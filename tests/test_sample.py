"""The exchange format: shapes agree, batches are honest."""

import pytest
import torch

from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.trajectory import chain
from vo3d.models.deepvo import DeepVO
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


def test_poses_and_times_are_float64_or_refused() -> None:
    for name, value in (
        ("world_T_cam", torch.eye(4).expand(2, 4, 4)),
        ("time", torch.zeros(2)),
        ("world_T_grid", torch.eye(4)),
    ):
        sample = object.__new__(Sample)  # shapes and types are checked under test alone, and before this is
        vars(sample).update({"scene": "here", name: value})
        with pytest.raises(Vo3dError, match=rf"{name} of 'here' is torch.float32: expected torch.float64"):
            sample.__post_init__()


def test_readings_without_their_instants_are_refused() -> None:
    with pytest.raises(Vo3dError, match="'here' has imu without imu_time: expected the instant of each reading"):
        clip(2, imu=torch.zeros(2, 5, 6), scene="here")


def test_every_field_may_be_absent_and_stands_in_a_batch() -> None:
    bare = Sample(image=torch.rand(1, 3, 4, 6))
    assert bare.given() == ("image", "scene")
    full = clip(
        3,
        imu=torch.full((3, 5, 6), torch.nan),
        imu_time=torch.zeros(3, 5).double(),
        cam_T_imu=torch.eye(4),
        flow=torch.zeros(2, 2, 4, 6),
        object_motion=torch.eye(4).double().expand(2, 7, 4, 4),
        label=torch.full((3, 4, 6), 255),
        occupancy=torch.zeros(8, 8, 8, dtype=torch.bool),
        world_T_grid=torch.eye(4).double(),
    )
    batch = Sample.collate([full, full])
    assert batch.flow.shape == (2, 2, 2, 4, 6)  # between views: one fewer than views
    assert batch.object_motion.shape == (2, 2, 7, 4, 4)
    assert batch.world_T_grid.shape == (2, 4, 4)


def test_flow_of_every_view_is_refused_where_the_sample_is_built() -> None:
    with pytest.raises(TypeError, match="flow"):
        clip(3, flow=torch.zeros(3, 2, 4, 6))


@pytest.mark.parametrize("east", [0.0, 500_000.0, 5_000_000.0])
def test_steps_are_exact_where_coordinates_are_large(east: float) -> None:
    """A drive like KITTI's, shifted as UTM coordinates are: steps of a metre keep their lengths to 1e-5 m."""
    steps = se3.exp(torch.tensor([0.02, -0.01, 1.0, 0.001, 0.02, -0.001]).double().expand(9, 6))
    world_T_cam = chain(steps)
    world_T_cam[:, 0, 3] += east
    world_T_cam[:, 1, 3] += 5_400_000.0 if east else 0.0
    sample = clip(10, world_T_cam=world_T_cam)
    found = se3.relative(sample.world_T_cam[:-1], sample.world_T_cam[1:])[:, :3, 3].norm(dim=-1)
    assert (found - steps[:, :3, 3].norm(dim=-1)).abs().max() < 1e-5


def test_gradients_of_a_loss_do_not_depend_on_the_origin() -> None:
    torch.manual_seed(0)
    model = DeepVO(size=(32, 48), width=1 / 16, hidden=16)
    image = torch.rand(2, 5, 3, 32, 48)
    world_T_cam = torch.stack([chain(se3.exp(0.2 * torch.randn(4, 6).double())) for _ in range(2)])
    far = world_T_cam.clone()
    far[..., 0, 3] += 456_789.123
    far[..., 1, 3] += 5_412_345.678
    found = []
    for poses in (world_T_cam, far):
        model.zero_grad()
        sample = Sample(image=image, world_T_cam=poses)
        sum(model.loss(model(sample), sample).values()).backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (found[0] - found[1]).abs().max() < 1e-5 * found[0].abs().max()
