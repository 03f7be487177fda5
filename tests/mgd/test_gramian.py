"""The Gramian against J Jᵀ of the concatenated gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from modnas_fast.mgd import gramian


def gradients(devices: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(devices)
    shapes = [(devices, 3, 4), (devices,), (devices, 5), (devices, 2, 1, 2)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("devices", [1, 2, 7])
def test_gramian_equals_j_times_its_transpose(devices: int, dtype: torch.dtype) -> None:
    parts = gradients(devices, dtype)
    before = [part.clone() for part in parts]
    jacobian = torch.cat([part.reshape(devices, -1).double() for part in parts], dim=1)
    result = gramian(parts)
    assert result.dtype == torch.float64 and result.shape == (devices, devices)
    torch.testing.assert_close(result, jacobian @ jacobian.T, atol=1e-12, rtol=1e-12)
    assert torch.equal(result, result.T)
    assert all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))


def test_sums_are_wide() -> None:
    """In float32 the second addend would be lost."""
    parts = [torch.tensor([[1.0]]), torch.tensor([[1e-5]])]
    assert float(gramian(parts)) - 1 == pytest.approx(1e-10, rel=1e-5)


def test_bad_gradients() -> None:
    with pytest.raises(ValueError, match="at least one tensor"):
        gramian([])
    with pytest.raises(ValueError, match=r"leading axes differ: \[2, 3\]"):
        gramian([torch.zeros(2, 1), torch.zeros(3, 1)])
