"""The stated memory of a pass beside what autograd really keeps, and how many devices are taken at a time."""

from __future__ import annotations

import pytest
import torch
from supernet_inputs import space
from torch import Tensor

from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201 import memory
from modnas_fast.spaces.nb201.memory import activation_bytes, plan
from modnas_fast.spaces.nb201.supernet import NB201Supernet

IMAGES = torch.Size([8, 3, 12, 12])


def small(reduction: str = "residual", cells: int = 2) -> NB201Supernet:
    return space.supernet(image_channels=3, classes=4, channels=4, cells=cells, reduction=reduction)


def kept_bytes(supernet: NB201Supernet, sample: Tensor, **how: bool) -> int:
    """Bytes of the distinct pieces of memory that autograd keeps, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        supernet(torch.randn(IMAGES), sample, torch.zeros(IMAGES[0], dtype=torch.long), **how)
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in parameters)


@pytest.mark.parametrize("reduction", ["residual", "pool"])
@pytest.mark.parametrize("implementation", ["composed", "reference"])
@pytest.mark.parametrize("computed", ["weights", "samples", "all"])
def test_no_network_keeps_more_than_stated_and_the_largest_little_less(
    implementation: str, computed: str, reduction: str
) -> None:
    supernet = small(reduction)
    found = []
    stated, _ = activation_bytes(supernet, IMAGES, 4, implementation, computed)
    with implementations.using(implementation):
        for indices in ([3] * 6, [2] * 6, [4] * 6, [1] * 6, [1, 3, 4, 3, 2, 4], [0, 0, 0, 3, 0, 0]):
            sample = space.encode([space.architecture(indices)])
            if computed == "all":
                sample = (sample + 0.1).requires_grad_()
            elif computed == "samples":
                sample = sample.requires_grad_()
            found.append(kept_bytes(supernet, sample, hard=computed != "all", exact=False))
    assert max(found) <= stated
    assert max(found) > 0.75 * stated


def test_the_formula_by_hand() -> None:
    kept, working = activation_bytes(small(cells=1), IMAGES, 4, "composed", "weights")
    sets = [8 * 4 * 12 * 12, 8 * 8 * 6 * 6, 8 * 16 * 3 * 3]
    assert kept == 4 * (9 * sum(sets) + 10 * (sets[1] + sets[2]) + 3 * sets[2])
    assert working == 4 * 16 * sets[0]


def test_recomputation_keeps_inputs_only() -> None:
    plain, _ = activation_bytes(small(), IMAGES, 2, "triton", "weights")
    less, _ = activation_bytes(small(), IMAGES, 2, "triton", "weights", recompute=True)
    same, _ = activation_bytes(small(), IMAGES, 2, "composed", "weights", recompute=True)
    assert less < plain / 2
    assert same == activation_bytes(small(), IMAGES, 2, "composed", "weights")[0]


@pytest.mark.parametrize("implementation", ["composed", "triton", "reference"])
def test_what_is_taken_at_a_time_fits(implementation: str) -> None:
    supernet, chunks = small(), []
    for free in (10**7, 2 * 10**7, 10**8, 10**12, None):
        chosen = plan(supernet, IMAGES, 4, 13, implementation, "weights", free)
        kept, working = activation_bytes(supernet, IMAGES, 4, implementation, "weights", chosen.recompute)
        chunks.append(chosen.chunk)
        if free is not None:
            at_once = 1 if implementation == "composed" else chosen.chunk
            assert chosen.chunk * kept + working * at_once <= memory.SHARE * free
    assert chunks == sorted(chunks) and chunks[-2:] == [13, 13] and chunks[0] < 13


def test_parts_worked_on_at_a_time_share_the_memory() -> None:
    supernet = small()
    for free in (2 * 10**7, 10**12):
        alone = plan(supernet, IMAGES, 4, 13, "composed", "weights", free // 2)
        assert plan(supernet, IMAGES, 4, 13, "composed", "weights", free, workers=2).chunk == min(7, alone.chunk)


def test_recomputation_comes_before_giving_up() -> None:
    supernet = small()
    kept, working = activation_bytes(supernet, IMAGES, 4, "triton", "weights")
    assert plan(supernet, IMAGES, 4, 13, "triton", "weights", int(2 * (kept + working))) == (1, False)
    assert plan(supernet, IMAGES, 4, 13, "triton", "weights", kept + working) == (1, True)
    with pytest.raises(
        InputError, match="search.batch_size: one network on 8 images takes up to .* GB, of which .* GB are free"
    ):
        plan(supernet, IMAGES, 4, 13, "triton", "weights", working)


def test_large_activations_on_a_cpu_go_one_device_at_a_time() -> None:
    supernet = space.supernet(image_channels=3, classes=10, channels=16, cells=5)
    images = torch.Size([256, 3, 32, 32])
    assert plan(supernet, images, 4, 13, "composed", "weights", 10**12).chunk == 1


@pytest.mark.parametrize("single_path", [False, True])
def test_a_cell_s_kernels_have_the_working_space_that_is_stated(
    single_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of them allocates on its way back, everything computed once more, with x and gradients on both sides."""
    pytest.importorskip("triton")
    from modnas_fast.kernels import cell_arguments, mixed_cell

    units: list[int] = []
    make = cell_arguments.Cell.units
    monkeypatch.setattr(cell_arguments.Cell, "units", lambda cell, count: units.append(count) or make(cell, count))
    for name in ("convolve", "add_edges", "reduce_gradient", "differentiate", "gather_gradient"):
        monkeypatch.setattr(mixed_cell, name, lambda *arguments: None)
    x, kernels = torch.zeros(1, 2, 3, 4, 4).requires_grad_(), (torch.zeros(6, 3, 3), torch.zeros(6, 3, 3, 3, 3))
    active = torch.ones(1, 6, 5, dtype=torch.bool)
    out = mixed_cell.mixed_cell(x, *kernels, active.float(), active, recompute=True, single_path=single_path)
    units.clear()
    out.sum().backward()
    assert 3 + sum(units) <= memory.WORKING["triton"]
