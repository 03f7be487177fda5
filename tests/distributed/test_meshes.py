"""Searches on meshes of two and four ranks beside one process, in float64 (gloo, on the CPU)."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
import torch

pytest.importorskip("torch.distributed")
if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

import ranked_searches
from ranked_searches import IN_PARTS, MESHES, SEARCHES, found_on
from torch import Tensor

from modnas_fast.bench.scaling_formula import phi_bytes, weight_messages
from modnas_fast.mgd.descent import combine_devices
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.mesh import ALONE_MESH, shape_of_mesh

#: by number of ranks and rank, what they found
Found = dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("ranks")
    answers: Found = {1: [{"1x1": found_on(ALONE_MESH)}]}
    for size in MESHES.keys() - {1}:
        command = [sys.executable, "-W", "ignore", ranked_searches.__file__, str(size), str(folder)]
        subprocess.run(command, check=True, timeout=600)
        answers[size] = [torch.load(folder / f"{size}-{rank}.pt", weights_only=True) for rank in range(size)]
    return answers


PLACES = [(size, f"{devices}x{data}") for size, shapes in MESHES.items() if size > 1 for devices, data in shapes]


def assert_close(found: Any, wanted: Any, place: str) -> None:
    """Equal structure; numbers to 1e-10 of their size, and of the largest in a tensor."""
    if isinstance(wanted, Tensor):
        tolerance = 1e-10 * float(wanted.abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(
            found.double(), wanted.double(), rtol=1e-10, atol=tolerance, msg=lambda text: f"{place}: {text}"
        )
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted), place
        for key, value in wanted.items():
            assert_close(found[key], value, f"{place}.{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for number, (one, other) in enumerate(zip(found, wanted)):
            assert_close(one, other, f"{place}[{number}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-10, abs=1e-10), place
    else:
        assert found == wanted, place


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("size", "shape"), PLACES)
def test_every_mesh_searches_as_one_process(found: Found, size: int, shape: str, name: str) -> None:
    wanted = found[1][0]["1x1"][name]
    assert wanted["history"]["step"] and len(wanted["archive"]["qualities"])
    for rank in range(size):
        assert_close(found[size][rank][shape][name], wanted, f"rank {rank}")


def test_a_search_in_parts_goes_on_with_other_ranks(found: Found) -> None:
    """Its checkpoint is whole: of several ranks for one process, and of one process for several ranks."""
    wanted = found[1][0]["1x1"][IN_PARTS]
    for rank in range(2):
        for way in ("fewer", "more"):
            assert_close(found[2][rank]["2x1"]["continued"][way], wanted, f"{way}, rank {rank}")


def test_ranks_hold_parts_of_the_weights_their_gradients_and_their_optimiser(found: Found) -> None:
    *_, whole = found[1][0]["1x1"]["held"]
    assert found[1][0]["1x1"]["held"] == [whole, whole, 2 * whole, 1, whole]
    each = [rank["2x1"]["held"] for rank in found[2]]
    assert [rank[3] for rank in each] == [1, 0], "rank 0 keeps tied weights as one tensor"
    for place, factor in enumerate((1, 1, 2)):
        assert sum(rank[place] for rank in each) == factor * whole
        assert max(rank[place] for rank in each) < 0.55 * factor * whole


@pytest.mark.parametrize("name", SEARCHES)
def test_ranks_have_the_same_bits(found: Found, name: str) -> None:
    for size, shape in PLACES:
        for one, other in pairwise(found[size]):
            for part in ("hypernet", "supernet"):
                for key, value in one[shape][name][part].items():
                    assert torch.equal(value, other[shape][name][part][key]), (size, shape, key)


@pytest.mark.parametrize(("size", "shape"), PLACES)
def test_batch_normalisation_over_ranks_is_that_of_the_whole_minibatch(found: Found, size: int, shape: str) -> None:
    data = int(shape[2:])
    wanted = found[1][0]["1x1"]["normalized"]
    for name in ("out", "x"):
        parts = [found[size][rank][shape]["normalized"][name] for rank in range(data)]
        torch.testing.assert_close(torch.cat(parts, dim=1), wanted[name], rtol=1e-10, atol=1e-12)
    for name in ("weight", "bias"):
        torch.testing.assert_close(found[size][0][shape]["normalized"][name], wanted[name], rtol=1e-10, atol=1e-12)


def test_a_step_exchanges_what_is_said(found: Found) -> None:
    """Φ: losses [T] and their gradients [T, N], and nothing else; w: its gradients, once."""
    devices, options = 3, 30
    for size, shape in PLACES:
        for rank in found[size]:
            sent = rank[shape]["messages"]
            assert sent["phi"] == [phi_bytes(devices, options, 8)], "of 8 bytes each; 4 in float32"
            assert sum(sent["phi"]) / 2 <= 8 * devices * options
            flags, *buckets = sent["w"]
            weights = rank[shape]["images side by side"]["supernet"].values()
            assert sent["w"] == weight_messages([weight.numel() for weight in weights], 8)
            assert flags == 4 * len(weights) and sum(buckets) == 8 * sum(weight.numel() for weight in weights)


def test_ranks_tell_each_other_plain_values_and_faults(found: Found) -> None:
    for size in (2, 4):
        for rank, answer in enumerate(found[size]):
            told = answer["exchanged"]
            assert told["first"] == {"rank": 0, "π": 0.1} and told["bytes"] == 0 and told["largest"] == 0
            assert told["gathered"] == ["x" * other for other in range(size)] and told["together"] == rank
            for name, tells in (("first fails", 0), ("last fails", size - 1), ("all fail", 0)):
                said = f"InputError: rank {rank} cannot" if rank == tells else "EndedElsewhere: 2"
                assert told[name] == said
            said = (
                "EndedElsewhere: 2" if rank else "InputError: after step 0 rank 1 has another hypernetwork than rank 0"
            )
            assert told["differs"].startswith(said)


def test_mgd_is_that_of_all_devices_and_no_mean_over_ranks() -> None:
    """Two devices on each of two ranks: gradients averaged on the way to the solver have another min-norm point.

    The long gradients of the first rank agree, the second rank's conflict with them: the mean follows the long ones.
    """
    gradients = torch.tensor([[4.0, 0.1], [4.0, -0.1], [-0.5, 1.0], [-0.5, 0.8]], dtype=torch.float64)
    weights = combine_devices(gradients @ gradients.T, "mgd", "none").weights
    exact = weights @ gradients
    assert bool((gradients @ exact >= exact @ exact - 1e-12).all()), "no device gets worse"
    averaged = gradients.view(2, 2, 2).mean(dim=1)  # as the published code does, of each rank's devices
    mean = torch.stack([averaged.mean(dim=0)] * 2)
    published = combine_devices(mean @ mean.T, "mgd", "none").weights @ mean
    assert float((gradients @ published).min()) < 0, "some do"
    cosine = torch.nn.functional.cosine_similarity(exact, published, dim=0)
    assert float(cosine) < 0.9


@pytest.mark.parametrize(
    ("wanted", "ranks", "shape"),
    [("auto", 1, (1, 1)), ("auto", 6, (3, 2)), ("auto", 7, (1, 7)), ("auto", 16, (4, 4)), ("8x1", 8, (8, 1))],
)
def test_auto_divides_the_devices_first(wanted: str, ranks: int, shape: tuple[int, int]) -> None:
    assert shape_of_mesh(wanted, ranks, 5, 64) == shape


@pytest.mark.parametrize(
    ("wanted", "ranks", "text"),
    [("2x2", 2, "search.mesh: 2x2 wants 4 ranks, there are 2; "), ("auto", 7, "search.mesh: 7 ranks along the mini")],
)
def test_a_mesh_that_does_not_fit_is_refused_in_one_line(wanted: str, ranks: int, text: str) -> None:
    with pytest.raises(InputError) as refused:
        shape_of_mesh(wanted, ranks, 5, 6)
    assert str(refused.value).startswith(text) and "\n" not in str(refused.value)
