"""The contract of methods: what is missing is said once, before any work."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.model import DepthModel, Model, Prediction, Window, check_gives, check_needs, depth_model
from vo3d.sample import Sample


class Depth(DepthModel):
    needs = ("image", "depth_range")
    loss_needs = ("depth",)
    gives = ("depth",)

    def forward(self, sample: Sample) -> Prediction:
        return {"depth": 1.0 * sample.image[..., 0, :, :]}

    def loss(self, prediction: Prediction, sample: Sample) -> dict[str, Tensor]:
        return {"depth": prediction["depth"].mean()}


def clip(**fields: Tensor) -> Sample:
    return Sample(image=torch.rand(2, 3, 4, 6), K=torch.eye(3).repeat(2, 1, 1), **fields)


def test_a_missing_field_is_named_with_what_the_source_gives() -> None:
    with pytest.raises(Vo3dError, match=r"Depth needs depth_range; Street gives image, K.*turn the field on"):
        check_needs(Depth(), clip(), "Street")


def test_what_only_the_loss_reads_is_needed_only_to_learn() -> None:
    sample = clip(depth_range=torch.ones(2, 2))
    check_needs(Depth(), sample, "Street")
    with pytest.raises(Vo3dError, match="Depth needs depth;"):
        check_needs(Depth(), sample, "Street", learning=True)


def test_a_model_that_breaks_its_word_is_a_defect() -> None:
    model = Depth()
    check_gives(model, model(clip()))
    with pytest.raises(TypeError, match="declares"):
        check_gives(model, {})


def test_stream_maps_forward_over_the_clips() -> None:
    clips = [clip(), clip()]
    depths = [prediction["depth"] for prediction in Depth().stream(clips)]
    assert all(torch.equal(depth, sample.image[:, 0]) for depth, sample in zip(depths, clips, strict=True))


def test_predict_is_forward_without_gradients() -> None:
    model, sample = Depth(), replace(clip(), image=torch.rand(2, 3, 4, 6, requires_grad=True))
    assert model(sample)["depth"].requires_grad
    assert not model.predict(sample)["depth"].requires_grad


def test_what_only_the_loss_reads_is_no_key() -> None:
    model = Depth()
    check_gives(model, {**model(clip()), "aux": {"inner": torch.zeros(1)}})
    with pytest.raises(TypeError, match="declares"):
        check_gives(model, {**model(clip()), "confidence": torch.zeros(1)})


@pytest.mark.parametrize(
    ("window", "num", "length"),
    [
        (Window(), 50, 16),
        (Window(), 16, 16),
        (Window(), 2, 16),
        (Window(views=1, overlap=0), 7, 99),
        (Window(views=2), 7, 99),
        (Window(views=5, overlap=2, margin=1), 23, 99),
        (Window(views=9, overlap=6, margin=3), 40, 99),
        (Window(views=9, overlap=8, margin=4), 9, 99),
        (Window(overlap=4, margin=2), 37, 10),
        (Window(share=0.25), 37, 10),
        (Window(share=0.25, usual=20), 100, None),
        (Window(share=0.49), 9, 1),
    ],
)
def test_every_view_counts_once_and_away_from_the_ends(window: Window, num: int, length: int | None) -> None:
    found = window.cut(num, length)
    views = window.length(length)
    margin = int(window.share * views) if window.share else window.margin
    overlap = 2 * margin if window.share else window.overlap
    counted = [one.views[place] for one in found for place in one.counted]
    assert counted == list(range(num))
    for one in found:
        assert list(one.views) == list(range(one.views[0], one.views[0] + len(one.views)))
        assert len(one.views) == window.views or window.views is None
        for place in one.counted:  # at least the margin from an end that is not the recording's
            assert place >= margin or one.views[0] == 0
            assert len(one.views) - 1 - place >= margin or one.views[-1] == num - 1
    if window.views is None:
        assert all(later.views[0] == before.views[-1] + 1 - overlap for before, later in pairwise(found))


def test_a_window_has_the_length_that_is_asked_for_unless_the_model_has_one() -> None:
    assert [Window().length(), Window(usual=20).length(), Window(usual=20).length(5), Window(views=2).length(5)] == [
        16,
        20,
        5,
        2,
    ]


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="do not advance"):
        Window(views=3, overlap=3)
    with pytest.raises(ValueError, match="a margin of 2 views on either side needs an overlap of 4"):
        Window(views=9, overlap=3, margin=2)
    with pytest.raises(ValueError, match=r"a share of 0\.5 on either side, views None: expected less than a half"):
        Window(share=0.5)
    with pytest.raises(ValueError, match=r"a share of 0\.2 on either side, views 4"):
        Window(views=4, overlap=1, share=0.2)
    with pytest.raises(Vo3dError, match="clip_length 1: expected at least 2 frames"):
        Window().cut(9, 1)
    with pytest.raises(Vo3dError, match="clip_length 0: expected at least 1 frames"):
        Window(share=0.25).cut(9, 0)
    with pytest.raises(Vo3dError, match="4 frames: the model wants 5 at once"):
        Window(views=5).cut(4, 16)


def test_depth_at_unknown_pixels_is_refused() -> None:
    class Bare(Model):
        needs = ("image",)
        gives = ("depth",)
        forward = Depth.forward
        loss = Depth.loss

    with pytest.raises(Vo3dError, match=r"Bare gives depth .* derive it from vo3d\.model\.DepthModel"):
        depth_model(Bare())
    assert Depth().spacing((1.0, 3.0)) is None
    swept = Depth()
    swept.num_depths = 5
    assert swept.spacing((1.0, 3.0)) == 0.5
    swept.inverse = True
    assert swept.spacing((1.0, 2.0)) == 0.125
