"""Published NetVLADs: every key has its place, and both orders of values give one vector."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, normalize

from vo3d.errors import Vo3dError
from vo3d.formats.weights import import_weights, load_weights, published_map
from vo3d.layers.trunk import TrunkName
from vo3d.models.netvlad import NetVLAD
from vo3d.models.netvlad_port import IBL, NANNE, PATCH, PUBLISHED, from_d_major, from_parts, to_d_major

K, WHITENED = 4, 3
VGG16 = {
    **{0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256)},
    **{17: (512, 256), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)},
}
ALEXNET = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192), 8: (256, 384), 10: (256, 256)}
NAMES = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3")


def _trunk(prefix: str, shapes: dict[int, tuple[int, ...]] = VGG16) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for place, (outputs, inputs, *window) in shapes.items():
        size = window[0] if window else 3
        found[f"{prefix}{place}.weight"] = 0.05 * torch.randn(outputs, inputs, size, size)
        found[f"{prefix}{place}.bias"] = 0.1 * torch.randn(outputs)
    return found


def _layer(conv: str, centroids: str, dim: int = 512) -> dict[str, Tensor]:
    return {f"{conv}.weight": 9 * torch.randn(K, dim, 1, 1), centroids: 0.05 * torch.randn(K, dim)}


def _whitening(name: str) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.randn(WHITENED, K * 512, 1, 1), f"{name}.bias": torch.randn(WHITENED)}


def _model(trunk: TrunkName = "vgg16", **changes: object) -> NetVLAD:
    return NetVLAD(**{"trunk": trunk, "num_clusters": K, **changes}).eval()  # type: ignore[arg-type]


def test_a_checkpoint_of_nanne_of_several_gpus_loads(tmp_path: Path) -> None:
    theirs = _trunk("encoder.module.") | _layer("pool.module.conv", "pool.module.centroids")
    torch.save({"epoch": 3, "state_dict": theirs, "recalls": 0.8, "parallel": True}, tmp_path / "best.pth.tar")

    model = _model()
    report = load_weights(model, tmp_path / "best.pth.tar")

    assert report.source == NANNE.source
    assert (set(report.matched), report.dropped, report.kept) == (set(theirs), (), ())
    assert set(report.valued) == {"trunk.image_mean", "trunk.image_std"}
    state = model.state_dict()
    assert torch.equal(state["trunk.features.28.weight"], theirs["encoder.module.28.weight"])
    assert torch.equal(state["vlad.assignment.weight"], theirs["pool.module.conv.weight"][..., 0, 0])
    assert torch.equal(state["vlad.centres"], theirs["pool.module.centroids"])
    torch.testing.assert_close(state["trunk.image_mean"].flatten(), torch.tensor([0.485, 0.456, 0.406]))


def test_alexnet_and_version_2_of_nanne_load() -> None:
    theirs = _trunk("encoder.", ALEXNET) | _layer("pool.conv", "pool.centroids", 256)
    theirs["pool.conv.bias"] = torch.randn(K)

    report = import_weights(_model("alexnet", version=2), theirs, NANNE)

    assert set(report.matched) == set(theirs)
    with pytest.raises(Vo3dError, match=r"no place for: pool\.conv\.bias; build the model with .*version"):
        import_weights(_model("alexnet"), theirs, NANNE)


def test_whitened_vectors_of_patch_are_what_its_convolution_gives() -> None:
    theirs = _trunk("encoder.") | _layer("pool.conv", "pool.centroids") | _whitening("WPCA.0")
    model = _model(whitened=WHITENED)
    assert published_map(model, theirs) is PATCH
    image = torch.rand(1, 3, 48, 64)

    report = import_weights(model, theirs, PATCH)

    assert (set(report.matched), report.kept) == (set(theirs), ())
    with torch.no_grad():
        vlad = model._described(model.trunk(image))
        expected = conv2d(vlad[..., None, None], theirs["WPCA.0.weight"], theirs["WPCA.0.bias"]).flatten(1)
        assert model.whitening is not None
        torch.testing.assert_close(model.whitening(vlad), normalize(expected, dim=-1))
    with pytest.raises(Vo3dError, match=r"no place for: WPCA\.0\.weight.*whitened"):
        import_weights(_model(), theirs, PATCH)


def test_openibl_loads_with_the_statistics_of_matconvnet() -> None:
    theirs = _trunk("base_model.base.") | _layer("net_vlad.conv", "net_vlad.centroids") | _whitening("pca_layer")
    model = _model(whitened=WHITENED)
    wrapped = {f"module.{name}": tensor for name, tensor in theirs.items()}
    assert published_map(model, wrapped) is IBL

    report = import_weights(model, wrapped, IBL)

    assert (set(report.matched), report.kept) == (set(wrapped), ())
    state = model.state_dict()
    torch.testing.assert_close(255 * state["trunk.image_mean"].flatten(), torch.tensor([123.68, 116.779, 103.939]))
    torch.testing.assert_close(255 * state["trunk.image_std"].flatten(), torch.ones(3))
    assert torch.equal(state["whitening.weight"], theirs["pca_layer.weight"].flatten(1))


def test_a_trunk_alone_is_a_start_and_leaves_the_layer_as_it_was() -> None:
    model, theirs = _model(whitened=WHITENED), _trunk("")
    before = model.state_dict()["vlad.centres"].clone()

    report = import_weights(model, theirs, PUBLISHED["vgg16-matconvnet"])

    assert set(report.matched) == set(theirs)
    assert set(report.kept) == {"vlad.assignment.weight", "vlad.centres", "whitening.weight", "whitening.bias"}
    assert torch.equal(model.state_dict()["vlad.centres"], before)


def test_the_two_orders_lead_to_each_other(generator: torch.Generator) -> None:
    vlad = torch.randn(2, K, 512, generator=generator)  # b k d

    d_major = to_d_major(vlad.flatten(1))

    assert torch.equal(d_major, vlad.permute(0, 2, 1).flatten(1))  # value d K + k
    assert d_major[1, 7 * K + 2] == vlad[1, 2, 7]
    assert torch.equal(from_d_major(d_major), vlad.flatten(1))


def _d_major() -> dict[str, Tensor]:
    """Variables as TensorFlow keeps them: HWIO, d-major, the other sign of the centres."""
    scope, found = "vgg16_netvlad_pca", {"vgg16_netvlad_pca/average_rgb": torch.tensor([123.0, 117.0, 104.0])}
    for name, (outputs, inputs) in zip(NAMES, VGG16.values(), strict=True):
        found[f"{scope}/conv{name}/kernel"] = 0.05 * torch.randn(3, 3, inputs, outputs)
        found[f"{scope}/conv{name}/bias"] = 0.1 * torch.randn(outputs)
    found[f"{scope}/assignment/kernel"] = 9 * torch.randn(1, 1, 512, K)
    found[f"{scope}/cluster_centers"] = 0.05 * torch.randn(1, 1, 1, 512, K)
    found[f"{scope}/WPCA/kernel"] = torch.randn(1, 1, 512 * K, WHITENED)
    found[f"{scope}/WPCA/bias"] = torch.randn(WHITENED)
    return found


def test_weights_of_tensorflow_give_the_vector_that_its_formulas_give() -> None:
    theirs, model = _d_major(), _model(whitened=WHITENED)
    key_map = published_map(model, theirs)
    assert key_map is PUBLISHED["netvlad-tf"]
    report = import_weights(model, theirs, key_map)
    assert (set(report.matched), report.kept, report.dropped) == (set(theirs), (), ())
    image, scope = torch.rand(1, 3, 48, 64), "vgg16_netvlad_pca"

    with torch.no_grad():
        x = normalize(model.trunk(image)[0].flatten(1), dim=0)  # d n
        first = conv2d(
            255 * image - theirs[f"{scope}/average_rgb"].reshape(3, 1, 1),
            theirs[f"{scope}/conv1_1/kernel"].permute(3, 2, 0, 1),
            theirs[f"{scope}/conv1_1/bias"],
            padding=1,
        )
        torch.testing.assert_close(model.trunk.features[0](model.trunk.normalised(image)), first, rtol=1e-4, atol=1e-3)  # type: ignore[operator, index]
        a = (theirs[f"{scope}/assignment/kernel"][0, 0].mT @ x).softmax(0)  # k n
        c = theirs[f"{scope}/cluster_centers"][0, 0, 0]  # d k
        vlad = torch.einsum("kn,dkn->dk", a, x[:, None] + c[:, :, None])
        d_major = normalize(normalize(vlad, dim=0).flatten(), dim=0)
        expected = d_major @ theirs[f"{scope}/WPCA/kernel"][0, 0] + theirs[f"{scope}/WPCA/bias"]
        plain = model._described(model.trunk(image))
        assert model.whitening is not None
        torch.testing.assert_close(to_d_major(plain)[0], d_major, rtol=0, atol=1e-5)
        torch.testing.assert_close(model.whitening(plain)[0], normalize(expected, dim=0), rtol=0, atol=1e-5)


def test_the_parts_of_a_structure_are_the_same_network() -> None:
    theirs, scope = _d_major(), "vgg16_netvlad_pca"
    expected, model = _model(whitened=WHITENED), _model(whitened=WHITENED)
    import_weights(expected, theirs, PUBLISHED["netvlad-tf"])

    state = from_parts(
        [(theirs[f"{scope}/conv{name}/kernel"], theirs[f"{scope}/conv{name}/bias"]) for name in NAMES],
        theirs[f"{scope}/assignment/kernel"][0, 0],
        theirs[f"{scope}/cluster_centers"][0, 0, 0],
        theirs[f"{scope}/average_rgb"],
        (theirs[f"{scope}/WPCA/kernel"][0, 0].mT, theirs[f"{scope}/WPCA/bias"]),
    )
    model.load_state_dict(state)

    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor)
