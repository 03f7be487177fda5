"""Tables of true errors: read from CSV, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.nb201.error_table import NATS_COLUMNS, load_nats_bench

needs_tables = pytest.mark.skipif("MODNAS_DATA" not in os.environ, reason="MODNAS_DATA does not name the tables")
HEADER = (
    "Id,ImageNetTestAccuracy200Epochs,ArchitectureString,CIFAR10TestAccuracy200Epochs,CIFAR100TestAccuracy200Epochs"
)


def write(folder: Path, *lines: str) -> Path:
    file = folder / "nats_bench.csv"
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("half", ["", ".5"])
def test_errors_are_what_accuracies_lack(tmp_path: Path, half: str) -> None:
    table = load_nats_bench(write(tmp_path, HEADER, f"0,40,second,90{half},70", f"1,30,first,80{half},60"))
    assert table.architectures == ("second", "first"), "in the order of the file"
    assert list(table.errors) == ["cifar10", "cifar100", "imagenet16-120"] == list(NATS_COLUMNS)
    less = 0.5 if half else 0.0
    assert table.errors["cifar10"].tolist() == [10 - less, 20 - less]
    assert table.errors["cifar100"].tolist() == [30, 40] and table.errors["imagenet16-120"].tolist() == [60, 70]
    assert all(errors.dtype == torch.float64 for errors in table.errors.values())


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ((HEADER.replace("CIFAR100", "MNIST"), "0,1,a,2,3"), "column CIFAR100TestAccuracy200Epochs is missing"),
        ((HEADER.replace("ArchitectureString", "Name"), "0,1,a,2,3"), "column ArchitectureString is missing"),
        ((HEADER, "0,1,a,2"), "is no CSV table"),
        ((), "is no CSV table"),
        ((HEADER, "0,1,a,much,3"), "CIFAR10TestAccuracy200Epochs"),
        ((HEADER, "0,1,a,,3"), "CIFAR10TestAccuracy200Epochs"),
        ((HEADER, "0,1,a,101,3"), "CIFAR10TestAccuracy200Epochs"),
    ],
)
def test_a_file_that_is_no_such_table(tmp_path: Path, lines: tuple[str, ...], text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        load_nats_bench(write(tmp_path, *lines))
    assert "modnas-fast data fetch nats-bench" in str(caught.value)


def test_a_missing_file_tells_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="modnas-fast data fetch nats-bench"):
        load_nats_bench(tmp_path / "nats_bench.csv")


@needs_tables
def test_what_is_known_of_the_real_table() -> None:
    table = load_nats_bench(Path(os.environ["MODNAS_DATA"]) / "nb201" / "nats_bench.csv")
    errors = table.errors["cifar10"]
    assert len(errors) == len(set(table.architectures)) == 15625
    assert float(errors.min()) == pytest.approx(5.63, abs=0.005)
    nothing = errors >= 89.9
    assert int(nothing.sum()) == 341 and float(errors[~nothing].max()) == pytest.approx(53.75, abs=0.005)
    assert table.architectures[0].startswith("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|")
