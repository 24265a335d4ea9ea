"""Principal components: both forms equal an SVD, whitened samples have unit variance, signs are fixed."""

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.retrieval import pca
from vo3d.retrieval.pca import principal_components


def drawn(n: int, c: int) -> Tensor:
    """Samples around 3, whose variances differ from direction to direction."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(c, c, generator=generator)).Q
    return 3 + (torch.randn(n, c, generator=generator) * 0.9 ** torch.arange(c)) @ turn


@pytest.mark.parametrize(("n", "c", "num"), [(60, 12, 12), (60, 12, 3), (12, 60, 11), (12, 60, 1), (20, 20, 19)])
def test_directions_and_variances_are_those_of_an_svd(
    n: int, c: int, num: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pca, "VALUES", 100)
    vectors = drawn(n, c)
    found = principal_components(vectors, num)
    centred = vectors.double() - vectors.double().mean(0)
    _, singular, right = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(found.variances.double(), singular[:num].square() / (n - 1), rtol=1e-6, atol=0)
    right = right[:num] * right[:num].gather(1, right[:num].abs().argmax(1, keepdim=True)).sign()
    torch.testing.assert_close(found.directions.double(), right, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.directions @ found.directions.T, torch.eye(num), rtol=0, atol=1e-5)
    weight, bias = found.whitening()
    white = vectors.double() @ weight.double().T + bias.double()
    torch.testing.assert_close(white.T.cov().reshape(num, num), torch.eye(num).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(white.mean(0), torch.zeros(num).double(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n", "c"), [(30, 20), (20, 30)])
def test_both_forms_give_the_same(n: int, c: int) -> None:
    vectors = drawn(n, c)
    mean = vectors.double().mean(0)
    (variances, one), (same, other) = (form(vectors, mean, 15) for form in (pca._by_covariance, pca._by_gram))
    torch.testing.assert_close(variances, same, rtol=1e-9, atol=0)
    torch.testing.assert_close((one * other).sum(1).abs(), torch.ones(15))


def test_more_components_than_samples_carry_are_refused() -> None:
    holed = drawn(30, 5)
    holed[20, 3] = torch.nan
    flat = torch.ones(40, 6)
    flat[:, :2] += drawn(40, 2)
    for vectors, num, words in (
        (drawn(12, 60), 12, "12 principal components of 12 descriptors of 60 values: expected 1 to 11"),
        (drawn(60, 12), 13, "expected 1 to 12"),
        (drawn(60, 12), 0, "expected 1 to 12"),
        (drawn(1, 12), 1, "expected 1 to 0"),
        (holed, 2, "NaN or infinite"),
        (flat, 3, "vary along 2 directions: expected 3"),
        (drawn(3, 50).repeat(4, 1), 3, "vary along 2 directions: expected 3"),
        (torch.ones(9, 4), 1, "vary along 0 directions"),
    ):
        with pytest.raises(Vo3dError, match=words):
            principal_components(vectors, num)
