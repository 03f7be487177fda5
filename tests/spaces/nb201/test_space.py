"""Strings, one-hots and canonical forms of the cell space, against path enumeration of every cell."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import Architecture, Choice, NB201Space, SearchSpace, make_space

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
PATHS = ([(0, 3)], [(0, 1), (1, 3)], [(0, 2), (2, 3)], [(0, 1), (1, 2), (2, 3)])
REFERENCE_ROWS = [11982, 431, 55, 9, 14451, 8636, 9881, 13479, 6196, 1462]
GOOD = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|"

space = NB201Space()
cells = st.tuples(*[st.integers(0, 4)] * 6)


class Lopsided(SearchSpace):
    """Two choices of unequal size, all of which matter."""

    name = "lopsided"
    choices = (Choice("depth", ("2", "3", "4")), Choice("width", ("thin", "wide")))
    references = ("2/thin",)

    def format(self, indices: tuple[int, ...]) -> str:
        self._check_indices(indices)
        return "/".join(choice.options[i] for choice, i in zip(self.choices, indices, strict=True))

    def parse(self, text: str) -> Architecture:
        parts = zip(self.choices, text.split("/"), strict=True)
        return self.architecture([choice.options.index(part) for choice, part in parts])

    def canonical(self, onehot: Tensor) -> Tensor:
        return onehot

    def build(self, architecture: Architecture, **task: int) -> nn.Module:
        return nn.Identity()


def live_edges(indices: tuple[int, ...]) -> set[tuple[int, int]]:
    """Edges on some path from node 0 to node 3 without `none`, by listing the four paths."""
    carrying = {edge for edge, index in zip(EDGES, indices, strict=True) if index != 0}
    return {edge for path in PATHS if carrying.issuperset(path) for edge in path}


def expected_canonical(indices: tuple[int, ...]) -> tuple[int, ...]:
    live = live_edges(indices)
    return tuple(index if edge in live else 0 for edge, index in zip(EDGES, indices, strict=True))


@given(cells)
def test_strings_round_trip(indices: tuple[int, ...]) -> None:
    architecture = space.architecture(indices)
    assert space.parse(str(architecture)) == architecture
    assert space.parse(f"  {architecture}\n") == architecture
    parts = [part for node in architecture.text.split("+") for part in node.strip("|").split("|")]
    assert [OPERATIONS.index(part[:-2]) for part in parts] == list(indices)
    assert [int(part[-1]) for part in parts] == [source for source, _ in EDGES]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "nb201",
        "|",
        "+",
        GOOD[1:],
        GOOD[:-1],
        GOOD.replace("+", ""),
        GOOD.replace("+", "++"),
        GOOD.replace("|", "||"),
        GOOD + "+",
        GOOD + "|none~3|",
        GOOD + GOOD,
        GOOD.rpartition("+")[0],
        GOOD.replace("nor_conv_3x3", "conv_3x3"),
        GOOD.replace("nor_conv_3x3", "NOR_CONV_3X3"),
        GOOD.replace("skip_connect~2", "skip_connect~1"),
        GOOD.replace("skip_connect~2", "skip_connect"),
        GOOD.replace("skip_connect~2", "skip_connect~02"),
        GOOD.replace("skip_connect~2", "skip_connect~2~"),
        GOOD.replace("none~0", "none ~0"),
        GOOD.replace("+", " + "),
    ],
)
def test_malformed_strings_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="architecture: "):
        space.parse(text)


def test_a_refusal_shows_the_wrong_part_and_the_options() -> None:
    with pytest.raises(InputError, match=r"'conv_3x3~0'.*nor_conv_3x3, avg_pool_3x3"):
        space.parse(GOOD.replace("nor_conv_3x3", "conv_3x3"))


@given(st.text(alphabet="|+~012none_skip", max_size=90))
def test_parse_raises_input_error_or_returns_that_very_network(text: str) -> None:
    try:
        assert space.parse(text).text == text.strip()
    except InputError:
        pass


@pytest.mark.parametrize("indices", [[0] * 5, [0] * 7, [5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1]])
def test_impossible_indices_are_refused(indices: list[int]) -> None:
    with pytest.raises(InputError, match="architecture: "):
        space.architecture(indices)


def test_unknown_space() -> None:
    assert isinstance(make_space("nb201"), NB201Space)
    with pytest.raises(
        InputError, match="space.name: wanted 'nb201', .* or package.module:object, got 'nb301'; did you mean nb201?"
    ):
        make_space("nb301")


@given(st.lists(cells, max_size=5))
def test_encode_and_decode_are_inverse(drawn: list[tuple[int, ...]]) -> None:
    architectures = [space.architecture(indices) for indices in drawn]
    onehot = space.encode(architectures)
    assert onehot.shape == (len(drawn), 30) and onehot.dtype == torch.float32
    assert torch.equal(onehot.unflatten(1, (6, 5)).sum(-1), torch.ones(len(drawn), 6))
    assert space.decode(onehot) == architectures


def test_enumerate_is_complete_and_unique() -> None:
    onehot = space.enumerate()
    assert onehot.shape == (15_625, 30) == (space.num_architectures, space.num_options)
    assert len(onehot.unique(dim=0)) == 15_625
    assert torch.equal(onehot.unflatten(1, (6, 5)).sum(-1), torch.ones(15_625, 6))


def test_samples_are_uniform_and_follow_the_generator() -> None:
    state = torch.get_rng_state()
    draws = space.sample(20_000, torch.Generator().manual_seed(0))
    assert torch.equal(draws, space.sample(20_000, torch.Generator().manual_seed(0)))
    assert torch.equal(state, torch.get_rng_state())
    assert draws.shape == (20_000, 30) and draws.dtype == torch.float32
    assert torch.equal(draws.unflatten(1, (6, 5)).sum(-1), torch.ones(20_000, 6))
    assert (draws.mean(0) - 0.2).abs().max() < 0.015  # 5 standard deviations
    pairs = draws.T @ draws / len(draws)
    assert (pairs[:5, 5:10] - 0.04).abs().max() < 0.008  # edges are independent


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_mode_takes_the_lowest_of_equal_options(dtype: torch.dtype) -> None:
    logits = torch.zeros(2, 3, 30, dtype=dtype)
    logits[1, 2, 7:9] = 1.5
    logits[..., 29] = -1
    before = logits.clone()
    mode = space.mode(logits)
    assert mode.shape == logits.shape and mode.dtype == dtype and torch.equal(logits, before)
    assert space.indices(mode)[1, 2].tolist() == [0, 2, 0, 0, 0, 0]
    assert space.indices(mode)[0].eq(0).all()


def test_a_cut_mode_becomes_viable_by_its_likeliest_change() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 40, 30, generator=generator)
    logits[..., ::5] += 1.5  # the option none
    mode, answer = space.mode(logits), space.viable_mode(logits)
    cut = space.viable(mode) < 0.5
    assert 20 < cut.sum() < 300
    assert torch.equal(answer[~cut], mode[~cut]) and (space.viable(answer) == 1).all()
    for values, found, start in zip(logits[cut], answer[cut], mode[cut]):
        changes = [
            space.encode([space.architecture([*old[:edge], operation, *old[edge + 1 :]])])[0]
            for old in space.indices(start[None]).tolist()
            for edge, operation in itertools.product(range(6), range(5))
        ]
        best = max(float(values @ change) for change in changes if space.viable(change) == 1)
        assert float(values @ found) == pytest.approx(best, abs=1e-5)
    assert torch.equal(Lopsided().viable_mode(torch.ones(5)), torch.tensor([1.0, 0, 0, 1, 0]))


def test_groups_of_unequal_size() -> None:
    lopsided = Lopsided()
    assert (lopsided.group_sizes, lopsided.num_options, lopsided.num_architectures) == ((3, 2), 5, 6)
    wanted = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]]).float()
    assert torch.equal(lopsided.encode([lopsided.parse("2/thin"), lopsided.parse("4/wide")]), wanted)
    assert [a.text for a in lopsided.decode(wanted)] == ["2/thin", "4/wide"]
    assert {a.text for a in lopsided.decode(lopsided.enumerate())} == {
        f"{depth}/{width}" for depth, width in itertools.product("234", ("thin", "wide"))
    }
    assert torch.equal(lopsided.mode(torch.tensor([0.0, 2.0, 2.0, 1.0, 1.0])), torch.tensor([0.0, 1, 0, 1, 0]))
    draws = lopsided.sample(6000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(draws.mean(0), torch.tensor([1, 1, 1, 1.5, 1.5]) / 3, atol=0.03, rtol=0)
    with pytest.raises(InputError, match="width has options 0..1, got 2"):
        lopsided.architecture([0, 2])


def test_canonical_equals_path_enumeration_for_every_cell() -> None:
    everything = list(itertools.product(range(5), repeat=6))
    onehot = space.onehot(torch.tensor(everything))
    before = onehot.clone()
    canonical = space.canonical(onehot)
    wanted = space.onehot(torch.tensor([expected_canonical(indices) for indices in everything]))
    assert torch.equal(canonical, wanted) and torch.equal(onehot, before)
    assert torch.equal(space.canonical(canonical), canonical)
    assert torch.equal(space.canonical(onehot.view(25, 625, 30)), canonical.view(25, 625, 30))
    assert len(canonical.unique(dim=0)) == 9_445  # the same count as of the pruned strings in the benchmark


def test_viable_cells_have_a_path_and_the_gradient_is_the_exact_effect_of_one_change() -> None:
    everything = list(itertools.product(range(5), repeat=6))
    onehot = space.onehot(torch.tensor(everything)).double().requires_grad_()
    viable = space.viable(onehot)
    assert viable.tolist() == [float(bool(live_edges(indices))) for indices in everything]
    gradient = torch.autograd.grad(viable.sum(), onehot)[0].unflatten(1, (6, 5))
    values = viable.detach().view(5, 5, 5, 5, 5, 5)
    slopes = gradient.view(5, 5, 5, 5, 5, 5, 6, 5)
    for edge in range(6):
        by_option = values.movedim(edge, 0)  # [new option, the other edges]
        slope = slopes[..., edge, :].movedim(edge, 0)  # [old option, the other edges, option]
        effect = by_option.movedim(0, -1)[None] - by_option[..., None]
        own = torch.stack([slope[old][..., old] for old in range(5)])[..., None]
        torch.testing.assert_close(slope - own, effect, atol=1e-12, rtol=0)


def test_every_network_of_a_space_without_dead_ends_is_viable() -> None:
    assert torch.equal(Lopsided().viable(Lopsided().enumerate()), torch.ones(6))


@settings(max_examples=60, deadline=None)
@given(cells)
def test_edges_that_lead_nowhere_have_no_gradient(indices: tuple[int, ...]) -> None:
    onehot = space.encode([space.architecture(indices)])[0]
    jacobian = torch.autograd.functional.jacobian(space.canonical, onehot).unflatten(-1, (6, 5))
    carrying = [edge for edge, index in zip(EDGES, indices, strict=True) if index != 0]
    for edge, ((source, target), index) in enumerate(zip(EDGES, indices, strict=True)):
        with_edge = {*carrying, (source, target)}
        on_path = any((source, target) in path and with_edge.issuperset(path) for path in PATHS)
        if on_path and index:
            own = jacobian[5 * edge + index, edge, index]
            assert own == 1 and jacobian[5 * edge : 5 * edge + 5, edge].abs().sum() > 1
        if not on_path:
            assert not jacobian[:, edge].any()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31))
def test_canonical_is_smooth_in_relaxed_samples(seed: int) -> None:
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    soft = logits.softmax(-1).flatten().requires_grad_()
    groups = space.canonical(soft).unflatten(-1, (6, 5))
    torch.testing.assert_close(groups.sum(-1), torch.ones(6, dtype=torch.float64))
    assert (groups >= 0).all()
    assert torch.autograd.gradcheck(space.canonical, (soft,))


def test_references_span_ten_different_networks() -> None:
    architectures = [space.parse(text) for text in space.references]
    assert len(set(architectures)) == 10
    assert [str(a) for a in architectures] == list(space.references)


@pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the benchmark's tables")
def test_references_are_the_published_rows() -> None:
    folder = Path(os.environ["MODNAS_DATA"]) / "nb201"
    rows = list(csv.DictReader((folder / "nats_bench.csv").open()))
    assert [rows[i]["ArchitectureString"] for i in REFERENCE_ROWS] == list(space.references)
    published = torch.load(folder / "hardware_embedding_index.pt", weights_only=True)
    assert torch.as_tensor(published).flatten().tolist() == REFERENCE_ROWS
    assert {row["ArchitectureString"] for row in rows} == {a.text for a in space.decode(space.enumerate())}


def test_build_leaves_out_what_leads_nowhere() -> None:
    dead_convolution = space.architecture([3, 0, 0, 1, 0, 3])
    network = space.build(dead_convolution, image_channels=1, classes=3, channels=2, cells=1)
    assert not [name for name, _ in network.named_parameters() if "operations" in name]
    assert network(torch.zeros(2, 1, 5, 7)).shape == (2, 3)


@pytest.mark.parametrize("changes", [0, 1, 3])
def test_mutation_changes_at_most_so_many_choices(changes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    before = space.sample(500, generator)
    after = space.mutate(before, changes, generator)
    assert set(after.unique().tolist()) == {0.0, 1.0} and after.shape == before.shape
    different = (space.indices(before) != space.indices(after)).sum(dim=1)
    assert different.max() == changes
    if changes == 1:
        drawn = space.indices(after)[different == 1]
        assert all(set(column.tolist()) == {0, 1, 2, 3, 4} for column in drawn.T)


def test_graph_by_hand() -> None:
    """0→1 convolves, 0→3 skips, 1→3 pools, the rest is none."""
    graph = space.graph(space.encode([space.architecture([3, 0, 0, 1, 4, 0])]))
    assert [t.shape[1:] for t in graph] == [(9, 8), (9,), (9,), (9, 9)]
    kinds = graph.kinds[0].argmax(-1).tolist()
    assert kinds == [5, 3, 0, 0, 1, 4, 0, 6, 7] and torch.equal(graph.kinds.sum(-1), torch.ones(1, 9))
    # 2→3 starts where nothing arrives; what ends in node 2 leads nowhere
    assert graph.reached[0].tolist() == [1, 1, 1, 1, 1, 1, 0, 1, 1]
    assert graph.used[0].tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 1]
    assert graph.adjacency[0, 8].all() and graph.adjacency[0, :, 8].all()
    assert graph.adjacency[0, :8, :8].nonzero().tolist() == [[0, 1], [0, 4], [1, 5], [4, 7], [5, 7]]


@given(cells)
@settings(max_examples=100)
def test_graph_says_what_is_live(indices: tuple[int, ...]) -> None:
    graph = space.graph(space.encode([space.architecture(indices)]))
    live = (graph.reached * graph.used)[0, 1:7] * (1 - graph.kinds[0, 1:7, 0])
    assert {edge for edge, on in zip(EDGES, live.tolist(), strict=True) if on} == live_edges(indices)
    assert graph.reached[0, 7] == graph.used[0, 0] == float(bool(live_edges(indices)))


def test_graph_of_the_canonical_cell_hides_what_is_dead() -> None:
    first, second = (space.encode([space.architecture(i)]) for i in ([3, 0, 0, 1, 0, 0], [0, 0, 0, 1, 0, 4]))
    graphs = [space.graph(space.canonical(onehot)) for onehot in (first, second)]
    assert all(torch.equal(*pair) for pair in zip(*graphs, strict=True))
    assert not torch.equal(space.graph(first).kinds, space.graph(second).kinds)


def test_graph_of_relaxed_samples_has_gradients_and_leading_axes() -> None:
    soft = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    soft = soft.softmax(-1).flatten(-2).requires_grad_()
    assert [t.shape[:2] for t in space.graph(soft)] == [(2, 3)] * 4
    assert torch.autograd.gradcheck(lambda x: tuple(space.graph(x)), soft[0, :2].detach().requires_grad_())


def test_a_space_without_graphs_says_so() -> None:
    with pytest.raises(InputError, match="space lopsided has no graphs"):
        Lopsided().graph(torch.zeros(5))
