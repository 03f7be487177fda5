"""Tables of blocks: sums over them, both published forms, folders of devices, and what a wrong table says."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
import torch
import yaml
from ofa_tables import block_means, write_blocks

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3.block_names import NSGANETV2, TUTORIAL, Names
from modnas_fast.spaces.mobilenetv3.scales import middle_channels
from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

DATA = os.environ.get("MODNAS_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="MODNAS_DATA is not set: no published tables to compare")
SIDES = (64, 80, 100)
SPACE = MobileNetV3Space("small", resolutions=SIDES)


def by_hand(names: Names, text: str, means: dict[str, dict[str, float]]) -> float:
    """A network's latency: its parts one after the other, as OFA's and NSGANetV2's code adds them up."""
    shape, scale = SPACE.shape(SPACE.parse(text).indices), SPACE.scale
    published = names == TUTORIAL
    side, taken = -(-shape.resolution // 2), scale.stem_channels
    stem, block = ("Conv", "expanded_conv") if published else ("first_conv", "MBConv")
    keys = [f"{stem}-input:{shape.resolution}x{shape.resolution}x3-output:{side}x{side}x{taken}"]

    def add(given: int, expand: int, kernel: int, stride: int, se: bool, hs: bool) -> None:
        nonlocal side, taken
        after, skip = -(-side // stride), int(stride == 1 and taken == given)
        key = (
            f"{block}-input:{side}x{side}x{taken}-output:{after}x{after}x{given}-expand:{expand}-kernel:{kernel}"
            f"-stride:{stride}-idskip:{skip}-se:{int(se)}"
        )
        keys.append(key + (f"-hs:{int(hs)}" if published else ""))
        side, taken = after, given

    add(scale.first_channels, taken if published else 1, 3, 1, se=False, hs=False)
    for j, (kernels, ratios) in enumerate(zip(shape.kernels, shape.expansions)):
        for layer, (kernel, ratio) in enumerate(zip(kernels, ratios)):
            expand = middle_channels(taken, ratio) if published else ratio
            stride = (2, 2, 2, 1, 2)[j] if layer == 0 else 1
            add(scale.stage_channels[j], expand, kernel, stride, se=j in (1, 3, 4), hs=j >= 2)
    final, mix = scale.final_channels, scale.mix_channels
    if published:
        keys += [f"Conv_1-input:{side}x{side}x{taken}-output:{side}x{side}x{final}",
                 f"AvgPool2D-input:{side}x{side}x{final}-output:1x1x{final}",
                 f"Conv_2-input:1x1x{final}-output:1x1x{mix}", f"Logits-input:1x1x{mix}-output:1000"]  # fmt: skip
    else:
        keys += [f"final_expand_layer-input:{side}x{side}x{taken}-output:{side}x{side}x{final}",
                 f"feature_mix_layer-input:1x1x{final}-output:1x1x{mix}",
                 f"classifier-input:{mix}-output:1000"]  # fmt: skip
    return sum(means[key]["mean"] for key in keys)


@pytest.mark.parametrize("names", [TUTORIAL, NSGANETV2])
def test_sums_over_blocks_are_those_by_hand(names: Names, tmp_path: Path) -> None:
    file = write_blocks(tmp_path / "phone_lut.yaml", names, SPACE, SIDES)
    means = yaml.safe_load(file.read_text())
    table = SPACE.part_table(file)
    assert table.devices == ("phone",) and table.metrics == {"latency": "ms"}
    onehot = SPACE.sample(30, torch.Generator().manual_seed(0))
    wanted = [by_hand(names, network.text, means) for network in SPACE.decode(onehot)]
    found = table.costs("phone", onehot)
    torch.testing.assert_close(found[:, 0], torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=0.0)


def test_a_folder_has_a_file_per_resolution_or_a_device_per_file(tmp_path: Path) -> None:
    folder = tmp_path / "tables" / "latency_table@note"
    folder.mkdir(parents=True)
    for side in SIDES:
        (folder / f"{side}_lookup_table.yaml").write_text(yaml.safe_dump(block_means(TUTORIAL, SPACE, side)))
    write_blocks(tmp_path / "tables" / "desk.yaml", NSGANETV2, SPACE, SIDES)
    table = SPACE.part_table(tmp_path / "tables")
    assert table.devices == ("desk", "note")
    onehot = SPACE.sample(5, torch.Generator().manual_seed(1))
    assert torch.equal(table.costs("note", onehot), SPACE.part_table(folder).costs("note", onehot))
    assert not torch.equal(table.costs("note", onehot), table.costs("desk", onehot))


def test_what_is_wrong_with_a_table_is_told_in_one_line(tmp_path: Path) -> None:
    def told(text: str, space: MobileNetV3Space = SPACE) -> str:
        file = tmp_path / "phone.yaml"
        file.write_text(text)
        with pytest.raises(InputError) as error:
            space.part_table(file)
        assert "\n" not in str(error.value)
        return str(error.value)

    means = {key: entry for side in SIDES for key, entry in block_means(TUTORIAL, SPACE, side).items()}
    lost = next(key for key in means if "expand:48-kernel:5" in key)
    assert told(yaml.safe_dump({key: entry for key, entry in means.items() if key != lost})).endswith(
        f"phone lacks the block {lost}, which networks of the space have"
    )
    assert "no networks of resolution 96; it has 64, 80: set space.resolutions" in told(
        yaml.safe_dump(means), MobileNetV3Space("small", resolutions=(64, 80, 96))
    )
    assert "it has none of the space's, at this width" in told(
        yaml.safe_dump(means), MobileNetV3Space("small", resolutions=SIDES, width=1.0)
    )
    assert "wanted a mean in ms" in told(yaml.safe_dump({**means, lost: {"mean": -1.0}}))
    assert "names no block" in told("a: {mean: 1.0}")
    assert "no valid YAML" in told("a: {") and "has no latencies" in told("[]")
    (tmp_path / "phone.yaml").unlink()
    with pytest.raises(InputError, match="has no YAML file"):
        SPACE.part_table(tmp_path)


@needs_data
def test_the_published_networks_of_the_note10() -> None:
    space = MobileNetV3Space("published", resolutions=tuple(range(160, 225, 4)))
    folder = Path(str(DATA)) / "ofa"
    table = space.part_table(folder / "ofa-tutorial/latency_table@note10")
    with open(folder / "ofa_specialized.csv", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    for name, wanted in (("30ms_top1-78.4", 29.97), ("41ms_top1-79.3", 39.91), ("50ms_top1-79.7", 49.78)):
        row = rows[f"note10_lat-{name}_finetune-75"]
        numbers = {key: list(map(int, row[key])) for key in ("ks", "e", "d")}
        network = space.parse("ks: {ks}\ne: {e}\nd: {d}\nr: {r}".format(**numbers, r=row["image_size"]))
        assert table.costs("note10", space.encode([network])).item() == pytest.approx(wanted, abs=5e-3)
    with pytest.raises(InputError, match="note10 has no networks of resolution 128"):
        MobileNetV3Space("published").part_table(folder / "ofa-tutorial/latency_table@note10")


@needs_data
def test_the_published_table_of_the_i7() -> None:
    space = MobileNetV3Space("published")
    table = space.part_table(Path(str(DATA)) / "ofa/i7-8700K_lut.yaml")
    assert table.devices == ("i7-8700K",)
    assert space.published is not None
    networks = space.published.truth("imagenet").architectures
    found = table.costs("i7-8700K", space.encode([space.parse(text) for text in networks]))
    assert (found.min().item(), found.max().item()) == (pytest.approx(7.04, abs=0.01), pytest.approx(29.80, abs=0.01))
