"""What moves on a street: exact flow and ids, classes, nobody where the camera is, the same numbers for all seeds."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from solids import contain
from vo3d.datasets.rendered import Rendered, RenderedRecording
from vo3d.errors import Vo3dError
from vo3d.geometry import se3
from vo3d.geometry.camera import backproject, project
from vo3d.sample import Sample
from vo3d.world.casting import cast
from vo3d.world.labels import BUILDING, CAR, PERSON, POLE, ROAD, SIDEWALK, SKY, TERRAIN, TRUCK, UNKNOWN, VEGETATION
from vo3d.world.movers import PARTS, Movers, Place, gait
from vo3d.world.paints import MATERIAL_SIZE
from vo3d.world.path import RigidPath, Spline
from vo3d.world.primitives import BALL, BOX, PLANE
from vo3d.world.recorder import Recorder
from vo3d.world.scene import Scene, SolidList, build_scene
from vo3d.world.scenes.street import CAMERA_HEIGHT, KERB, WALK
from vo3d.world.sensor import Sensor
from vo3d.world.traffic import HIDDEN, KERBSIDE, num_objects, traffic
from vo3d.world.visit import Visit

SIZE = (64, 208)
CLEAN = Sensor(noise=0.0)
DURATION = 30.0
AMOUNTS = (1.0, 2.5)  # of the drives with seeds 0 and 1
TIMES = torch.arange(-6, 158, dtype=torch.float64) * 0.2
# How far a camera has come along the line and where it is beside it, metres, at seconds t.
MOTIONS = {
    "car": lambda t: (65 + 7 * t + 20 * torch.sin(0.25 * t), 1.5 + 0.15 * torch.sin(0.7 * t)),
    "standing": lambda t: (70 + 0 * t, 1.5 + 0 * t),
    "hand-held": lambda t: (70 + 0.6 * t + 0.3 * torch.sin(0.5 * t), 1.2 + 0.8 * torch.sin(0.4 * t)),
    "walking": lambda t: (70 + 1.35 * t, 7.2 + 0.1 * torch.sin(2 * t)),
    "walking on the left": lambda t: (130 - 1.35 * t, -7.2 + 0 * t),
    "across the road": lambda t: (70 + 3 * t, 7 * torch.sin(0.2 * t)),
}


@dataclass(frozen=True)
class Drive:
    """A street with the traffic for a camera on a path that is not the street's own."""

    scene: Scene
    camera: Tensor  # n 3, at every 0.1 s


def world_points(recorder: Recorder, index: int, depth: Tensor) -> Tensor:
    """Return the points of a left view in the world, h w 3."""
    return se3.transform(recorder.poses()[index], backproject(recorder.camera.K, depth.double()))


@pytest.fixture(scope="module")
def empty() -> Scene:
    return build_scene("street", 11, int(DURATION * 10) + 1, visit=Visit(traffic=0.0))


@pytest.fixture(scope="module")
def drives(empty) -> dict[tuple[str, int], Drive]:
    line, still = empty.paints[0].line, empty.solids
    time = torch.arange(0, DURATION, 0.1, dtype=torch.float64)
    found = {}
    for name, motion in MOTIONS.items():
        for seed in range(2):
            solids = SolidList(MATERIAL_SIZE)
            for kind, centre, rotation, half in zip(still.kind, still.centre, still.rotation, still.half, strict=True):
                solids.add(int(kind), centre.tolist(), half.tolist(), paint=0, rotation=rotation.flatten().tolist())
            movers = Movers(torch.Generator().manual_seed(seed), solids, 0, 0)
            paths = traffic(movers, line, TIMES, *motion(TIMES), DURATION, AMOUNTS[seed], CAMERA_HEIGHT)
            scene = Scene(solids.build(), (), empty.light, empty.camera, paths, empty.lattice, empty.view_range)
            x, z, _ = line.at(*motion(time)).unbind(1)
            found[name, seed] = Drive(scene, torch.stack((x, torch.zeros_like(x), z), 1).float())
    return found


@pytest.mark.parametrize(("seed", "baseline", "step"), [(0, 0.54, 1), (1, 0.12, 3), (2, 1.5, 2), (3, 0.54, -2)])
def test_flow_of_moving_pixels_is_their_motion_applied_to_their_points(seed, baseline, step):
    recorder = Recorder("street", seed, 120, SIZE, Sensor(noise=0.0, baseline=baseline))
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    compared, ids = 0, set()
    for index in range(5, 115, 12):
        later = index + step
        motion = recorder.object_motion([index, later])[0]
        assert motion.shape == (num_objects(11.9, 1.0), 4, 4)
        for right in (False, True):
            frame = recorder.frame(index, right=right, later=later)
            pose = recorder.poses()[index] @ recorder.left_T_right if right else recorder.poses()[index]
            points = se3.transform(pose, backproject(recorder.camera.K, frame.depth.double()))
            moved = (motion[frame.mask - 1] @ torch.cat((points, torch.ones_like(points[..., :1])), -1)[..., None])[
                ..., 0
            ]
            target, z = project(recorder.camera.K, se3.transform(recorder.poses()[later].inverse(), moved[..., :3]))
            moving = (frame.mask > 0) & (z > 0.5)
            expected = target.movedim(-1, 0) - torch.stack((x, y))
            torch.testing.assert_close(frame.flow[:, moving].double(), expected[:, moving], atol=1e-3, rtol=1e-6)
            compared += int(moving.sum())
            ids |= set(frame.mask.unique().tolist())
    assert compared > 5000
    assert len(ids) > 15


def test_ids_of_pixels_are_those_of_the_solid_that_is_there():
    recorder = Recorder("street", 4, 60, SIZE, CLEAN)
    agree = []
    for index in (3, 30, 55):
        frame, solids = recorder.frame(index), recorder.scene.placed(index / 10)
        points = world_points(recorder, index, frame.depth)
        ray = torch.nn.functional.normalize(points - recorder.poses()[index][:3, 3], dim=-1)
        for row, column in (frame.mask > 0).nonzero()[::7].tolist():
            own = solids.select((solids.object == frame.mask[row, column]).nonzero()[:, 0])
            behind = (points[row, column] + 0.01 * ray[row, column]).float()
            before = (points[row, column] - 0.01 * ray[row, column]).float()
            agree.append(bool(contain(own, behind).any()) and not bool(contain(own, before).any()))
    assert len(agree) > 100
    assert sum(agree) > 0.93 * len(agree)  # the rest: rays that graze an outline


def test_classes_are_those_of_what_is_seen():
    recorder = Recorder("street", 5, 60, (128, 416), CLEAN)
    line = recorder.scene.paints[0].line
    seen = set()
    for index in (0, 25, 50):
        frame = recorder.frame(index, label=True)
        seen |= set(frame.label.unique().tolist())
        assert torch.isin(frame.label[frame.mask > 0], torch.tensor([CAR, TRUCK, PERSON])).all()
        assert (frame.mask[frame.label == PERSON] > 0).all()
        assert torch.equal(frame.label == SKY, frame.depth == 0)
        ground = torch.isin(frame.label, torch.tensor([ROAD, SIDEWALK, TERRAIN])) & (frame.depth < 60)
        points = world_points(recorder, index, frame.depth)[ground]
        torch.testing.assert_close(points[:, 1], torch.full_like(points[:, 1], CAMERA_HEIGHT), atol=1e-2, rtol=0)
        off, label = line.distance(points[:, [0, 2]]), frame.label[ground]
        expected = torch.where(off < KERB, ROAD, torch.where(off < WALK, SIDEWALK, TERRAIN))
        clear = ((off - KERB).abs() > 0.1) & ((off - WALK).abs() > 0.1)  # the map lies between nodes
        assert float(clear.double().mean()) > 0.9
        assert torch.equal(label[clear], expected[clear])
    assert seen >= {ROAD, SIDEWALK, TERRAIN, BUILDING, POLE, VEGETATION, SKY, CAR, PERSON}
    assert UNKNOWN not in seen
    assert recorder.frame(0).label is None


@pytest.mark.parametrize("motion", MOTIONS)
def test_nothing_that_moves_comes_into_the_camera_or_into_what_stands(drives, motion):
    for seed in range(2):
        drive = drives[motion, seed]
        people = (drive.scene.solids.label == PERSON).nonzero()[:, 0]
        near = 0
        for number, point in enumerate(drive.camera):
            solids = drive.scene.placed(number / 10)
            distance = torch.linalg.vector_norm(solids.centre - point, dim=1)
            moving = solids.select(((solids.object > 0) & (distance < 12)).nonzero()[:, 0])
            near += len(moving) > 0
            for offset in ((0.0, 0.0, 0.0), (0.5, 0.0, 0.0), (-0.5, 0.0, 0.0), (0.0, 0.0, 0.5), (0.0, 0.0, -0.5)):
                assert not contain(moving, point + torch.tensor(offset)).any(), f"in the camera at {number / 10} s"
            if number % 10 == 0:
                still = solids.select(((solids.object == 0) & (solids.kind != PLANE)).nonzero()[:, 0])
                local = ((solids.centre[people, None] - still.centre)[:, :, None] @ still.rotation)[:, :, 0]
                within = (local.abs() < still.half).all(-1) & (still.kind != BALL)
                assert not within.any(), f"a person in a thing at {number / 10} s"
        assert near > 100


@pytest.mark.parametrize("motion", MOTIONS)
def test_vehicles_run_into_nothing(drives, motion):
    grid = torch.cartesian_prod(*[torch.linspace(-0.98, 0.98, 5)] * 3)
    for seed in range(2):
        scene = drives[motion, seed].scene
        driving = (scene.solids.object > 0) & (scene.solids.label != PERSON) & (scene.solids.kind == BOX)
        others = ((scene.solids.object == 0) | (scene.solids.label != PERSON)) & (scene.solids.kind == BOX)
        for time in torch.arange(0.0, DURATION, 1.3).tolist():
            placed = scene.placed(time)
            boxes, things = placed.select(driving.nonzero()[:, 0]), placed.select(others.nonzero()[:, 0])
            near = torch.cdist(boxes.centre, things.centre) < 25
            one, other = (near & (boxes.object[:, None] != things.object)).nonzero().T
            one, other = boxes.select(one), things.select(other)
            points = one.centre[:, None] + (grid * one.half[:, None]) @ one.rotation.mT  # n 125 3
            local = (points - other.centre[:, None]) @ other.rotation
            ran = (local.abs() < other.half[:, None]).all(-1).any(1)
            assert not ran.any(), f"vehicle {one.object[ran].tolist()} in {other.object[ran].tolist()} at {time} s"


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_that_moves_comes_into_the_right_camera(seed):
    """On the wrong side of the road it is the right one that is in the lane of those who come."""
    recorder = Recorder("street", seed, 151, SIZE, Sensor(baseline=1.0), visit=Visit(traffic=2.5, lateral=-3.2))
    for index, pose in enumerate(recorder.poses() @ recorder.left_T_right):
        solids = recorder.scene.placed(index / 10)
        moving = solids.select((solids.object > 0).nonzero()[:, 0])
        assert not contain(moving, pose[:3, 3].float()).any(), f"in the camera in frame {index}"


@pytest.mark.parametrize(("seed", "amount"), [(0, 1.0), (2, 5.0), (3, 1.0), (5, 5.0)])
def test_vehicles_drive_ahead_and_never_jump(seed, amount):
    """A car's engine, brakes and tyres bear less than the weight of it; feet of people do not count."""
    scene = build_scene("street", seed, 201, visit=Visit(traffic=amount))
    vehicles = scene.solids.object[(scene.solids.object > 0) & (scene.solids.label != PERSON)].unique() - 1
    pose = scene.movers.poses(torch.arange(0, 20, 0.02, dtype=torch.float64))[:, vehicles]
    velocity = pose[..., :3, 3].diff(dim=0) / 0.02
    acceleration = velocity.diff(dim=0) / 0.02
    assert float(acceleration.norm(dim=-1).max()) < 9.0
    ahead = (velocity * pose[:-1, :, :3, 2]).sum(-1)
    assert 0.0 <= float(ahead.min())
    assert float(ahead.max()) < 25.0
    assert float((velocity - ahead[..., None] * pose[:-1, :, :3, 2]).norm(dim=-1).max()) < 0.3


def test_people_cross_the_road_ahead_of_the_camera_and_are_off_its_lane_in_time(empty, drives):
    line = empty.paints[0].line
    crossed = 0
    for motion in ("car", "standing"):
        for seed in range(2):
            scene = drives[motion, seed].scene
            time = torch.arange(0, DURATION, 0.1, dtype=torch.float64)
            driven, beside = MOTIONS[motion](time)
            poses = scene.movers.poses(time)
            people = sorted(set(scene.solids.object[scene.solids.label == PERSON].tolist()))[::PARTS]
            for torso in people:
                place = poses[:, torso - 1, :3, 3]
                distance = line.distance(place[:, [0, 2]])
                if float(distance.min()) > 1.0:
                    continue
                crossed += 1
                apart = torch.linalg.vector_norm(place[:, [0, 2]] - line.at(driven, beside)[:, :2], dim=1)
                assert float(apart.min()) > 1.5
                assert float(distance.max()) < KERBSIDE + 0.1
    assert crossed >= 4


@pytest.mark.parametrize("motion", MOTIONS)
def test_people_keep_apart(drives, motion):
    for seed in range(2):
        scene = drives[motion, seed].scene
        torsos = sorted(set(scene.solids.object[scene.solids.label == PERSON].tolist()))[::PARTS]
        place = scene.movers.poses(torch.arange(0, DURATION, 0.2, dtype=torch.float64))
        place = place[:, [torso - 1 for torso in torsos], :3, 3]
        place = place[:, place[0, :, 1] < HIDDEN / 2]
        apart = (torch.cdist(place, place) + 9 * torch.eye(place.shape[1])).amin((1, 2))
        assert place.shape[1] > 8
        assert float((apart < 0.45).double().mean()) < 0.05  # two may touch who pass each other beside a tree


def test_people_walk_on_their_feet():
    time = torch.arange(-8, 60, dtype=torch.float64) * 0.1
    for height, speed in ((1.25, 1.1), (1.8, 1.4), (1.7, 0.0)):
        heading = 0.1 * time
        path = torch.stack((speed * (1 - heading.cos()) / 0.1, speed * heading.sin() / 0.1, heading), 1)
        people = RigidPath(Spline(gait(path, CAMERA_HEIGHT, height, 0.1, 0.3), -0.8, 0.1))
        at = torch.arange(0, 4, 0.02, dtype=torch.float64)
        poses = people.poses(at)
        sole = torch.tensor([0.0, 0.48 * height, 0.0, 1.0], dtype=torch.float64)
        foot = (poses[:, 3:] @ sole)[..., :3]  # n 2 3
        lowest = foot[..., 1].amax(1) - CAMERA_HEIGHT
        assert float(lowest.abs().max()) < 0.035  # neither above nor under the ground
        pace = torch.linalg.vector_norm(foot[1:, :, [0, 2]] - foot[:-1, :, [0, 2]], dim=-1) / 0.02
        assert float(pace.amin(1).mean()) <= 0.3 * speed + 0.01  # the foot that stands slides little
        if speed:
            apart = torch.linalg.vector_norm(foot[:, 0] - foot[:, 1], dim=-1)
            assert 0.33 * height < float(apart.max()) < 0.5 * height


def test_people_and_vehicles_have_the_sizes_of_their_kind():
    for seed in range(6):
        solids = SolidList(MATERIAL_SIZE)
        movers = Movers(torch.Generator().manual_seed(seed), solids, 0, 1)
        height = movers.person(1)
        half = [maker(Place(object_id=6 + i)) for i, maker in enumerate((movers.car, movers.van, movers.lorry))]
        built = solids.build()
        assert 1.2 <= height <= 1.9
        assert set(built.object.tolist()) == set(range(1, 9))
        corners = built.corners() + built.centre[:, None]
        head = -float(corners[built.object == 1][..., 1].min()) + 0.48 * height
        assert height - 0.02 < head < height + 0.06
        for number, (length, width) in enumerate(half, start=6):
            own = corners[built.object == number].flatten(0, 1)
            assert float(own[:, 2].abs().max()) == pytest.approx(length, abs=0.02)
            assert float(own[:, 0].abs().max()) <= width + 0.021
            assert float(own[:, 1].max()) == pytest.approx(0.0, abs=1e-3)  # the wheels stand on the ground


def test_movers_fill_the_view():
    """Of views with something that moves, half have it on at least a twentieth of their pixels."""
    shares = []
    for seed in range(4):
        recorder = Recorder("street", seed, 300, SIZE, CLEAN)
        for index in range(0, 300, 15):
            seen = cast(recorder.scene.placed(index / 10), recorder.camera, recorder.poses()[index], 170.0)
            shares.append(float((seen.of_solid(seen.solids.object, 0) > 0).double().mean()))
    share = torch.tensor(shares)
    assert float((share > 0).double().mean()) > 0.95
    assert float(share[share > 0].median()) >= 0.05


def test_the_number_of_objects_is_that_of_the_duration_and_the_amount():
    for frames, amount in ((2, 1.0), (30, 0.2), (60, 2.0)):  # 0.2: nobody ahead
        counts = set()
        for seed in range(2):
            scene = build_scene("street", seed, frames, visit=Visit(traffic=amount))
            counts.add(len(scene.objects(0.0)) - 1)
            assert int(scene.solids.object.max()) == len(scene.objects(0.0)) - 1
        assert counts == {num_objects((frames - 1) / 10, amount)}
    assert num_objects(20.0, 2.0) > num_objects(20.0, 1.0) > num_objects(20.0, 0.2) > 0
    assert num_objects(40.0, 1.0) > num_objects(20.0, 1.0)


def test_no_traffic_is_a_street_where_nothing_moves(empty):
    assert num_objects(DURATION, 0.0) == 0
    assert empty.movers is None
    assert not (empty.solids.object > 0).any()
    assert not (empty.solids.label == PERSON).any()
    busy = build_scene("street", 11, int(DURATION * 10) + 1)
    still = busy.solids.select((busy.solids.object == 0).nonzero()[:, 0])
    assert torch.equal(still.centre, empty.solids.centre)


def test_what_moves_depends_on_its_own_seed_alone():
    scenes = [build_scene("street", 4, 60, visit=Visit(movers_seed=movers_seed)) for movers_seed in (1, 1, 2)]
    first, again, other = scenes
    assert torch.equal(first.movers.spline.control, again.movers.spline.control)
    assert torch.equal(first.solids.material, again.solids.material)
    assert not torch.equal(first.movers.spline.control, other.movers.spline.control)
    for scene in scenes:
        assert torch.equal(scene.solids.centre[scene.solids.object == 0], first.solids.centre[first.solids.object == 0])


def test_hidden_movers_are_few(drives):
    hidden = total = 0
    for motion in ("car", "standing", "walking", "hand-held"):
        for seed in range(2):
            height = drives[motion, seed].scene.objects(0.0)[1:, 1, 3]
            hidden, total = hidden + int((height > HIDDEN / 2).sum()), total + len(height)
    assert hidden <= 0.1 * total


def test_recordings_give_classes_and_motions():
    dataset = Rendered(seeds=[1, 2], frames=8, size=(32, 96), clip_length=3, mask=True, label=True, object_motion=True)
    batch = Sample.collate([dataset[0], dataset[7]])
    assert batch.label.shape == batch.mask.shape == (2, 3, 32, 96)
    assert batch.object_motion.shape == (2, 2, num_objects(0.7, 1.0), 4, 4)
    assert batch.object_motion.dtype == torch.float64
    recording = dataset.recordings[0]
    skipped = recording.clip([0, 2, 4]).object_motion
    twice = recording.clip([0, 1, 2]).object_motion
    torch.testing.assert_close(skipped[0], twice[1] @ twice[0], atol=1e-9, rtol=0)
    plain = RenderedRecording("street", 1, 8, (32, 96), depth=True).clip([0, 1])
    assert plain.label is None
    assert plain.object_motion is None


def test_a_table_has_no_classes_and_nothing_that_moves():
    with pytest.raises(Vo3dError, match="label of 'tabletop': its things have no classes; leave label out"):
        RenderedRecording("tabletop", 0, 4, (32, 96), label=True).clip([0, 1])
    clip = RenderedRecording("tabletop", 0, 4, (32, 96), object_motion=True).clip([0, 1, 2])
    assert clip.object_motion.shape == (2, 0, 4, 4)
