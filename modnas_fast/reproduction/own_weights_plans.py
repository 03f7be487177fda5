"""The experiments whose supernets are trained here: translation on HAT's small space, and photos on MobileNetV3s."""

from __future__ import annotations

import gzip
from pathlib import Path

from modnas_fast.datasets.home import data_home, locate
from modnas_fast.datasets.pairs import Pair, read_pairs
from modnas_fast.reproduction.own_weights import OwnWeights
from modnas_fast.reproduction.plan import DEFAULT, About
from modnas_fast.reproduction.trial import Variant
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_text

FRONT = "front of all that was found on the same weights"
PROTOCOL = (
    "Each seed trains weights of its own and measures this machine. Random search, an evolution and a Gaussian process "
    "then search the same weights: they ask for as many networks as MODNAS's refinement and answers together, have the "
    "same predictors "
    "of costs, and what they evaluate for one device serves all (parents from the union of the devices' fronts, one or "
    "two random changes, a twentieth random at first). All that they asked for is their answer; MODNAS answers 24 "
    "preferences.",
    "Nobody knows the best networks of such weights. Ratios are to the hypervolume of what all methods found together, "
    "in the bounds of the run, whose reference point is (1, 1). Qualities are inherited; networks that were trained "
    "from scratch stand in the notes.",
)
LANGUAGES = ("en", "de")


def hat_pairs(folder: Path) -> Path:
    """A folder with the pairs of Multi30k and Tatoeba to train on, Multi30k's validation part, and its test of 2016."""
    place = folder.absolute() / "pairs"
    if not place.exists():
        multi30k = read_pairs(locate("hat/multi30k/train.en.gz").parent, LANGUAGES).parts
        tatoeba = read_pairs(locate("hat/tatoeba/deu-eng.zip")).parts["train"]
        test = [locate(f"hat/multi30k/test_2016_flickr.{language}.gz") for language in LANGUAGES]
        unfinished = place.with_name("pairs.part")
        unfinished.mkdir(parents=True, exist_ok=True)
        parts = {"train": (*multi30k["train"], *tatoeba), "val": multi30k["validation"], "test": _two_files(*test)}
        for part, pairs in parts.items():
            _write_pairs(unfinished, part, pairs)
        unfinished.rename(place)
    return place


def _two_files(source: Path, target: Path) -> tuple[Pair, ...]:
    sides = [gzip.decompress(file.read_bytes()).decode("utf-8").splitlines() for file in (source, target)]
    return tuple(zip(*sides, strict=True))


def _write_pairs(folder: Path, part: str, pairs: tuple[Pair, ...]) -> None:
    for language, lines in zip(LANGUAGES, zip(*pairs)):
        write_text(folder / f"{part}.{language}", "\n".join(line.replace("\n", " ") for line in lines) + "\n")


def photos(folder: Path) -> Path:
    """The images in the data folder."""
    place = data_home() / "images"
    if not place.exists():
        raise InputError(f"--data: {place} does not exist; name a folder of images with a sub-folder per class")
    return place


#: of both: so little that it shows nothing but that all works
QUICK = (
    "search.warmup_steps=4",
    "search.steps=4",
    "search.refine_steps=6",
    "search.refine_networks=24",
    "predictor.steps=100",
    "devices.networks=12",
    "devices.heldout=6",
    "devices.repeats=3",
    "evaluation.rays=6",
)
TASK_ALONE = Variant("task-alone", ("scalarization.kind=task_alone",))
MEAN = Variant("mean", ("mgd.scheme=mean",))
HAT = OwnWeights(
    "hat-small",
    About("HAT, small space, trained here", PROTOCOL, {}, FRONT),
    hat_pairs,
    (f"task.languages=[{','.join(LANGUAGES)}]", "verify.epochs=1"),
    (
        *QUICK,
        "task.limit=400",
        "task.test_limit=40",
        "task.vocabulary=bytes",
        "space.encoder_widths=[8,16]",
        "space.decoder_widths=[8,16]",
        "space.encoder_ffns=[8,16]",
        "space.decoder_ffns=[8,16]",
        "space.inner=16",
        "evaluation.measured=10",
    ),
    {
        "loss of Φ": {"preference and costs": DEFAULT, "task alone, as published": TASK_ALONE},
        "Φ update": {"MGD": DEFAULT, "mean": MEAN},
    },
)
OFA = OwnWeights(
    "mobilenet-small",
    About("Once-for-All, small space, trained here", PROTOCOL, {}, FRONT),
    photos,
    (),
    (
        *QUICK,
        "space.width=0.1",
        "space.resolutions=[32,40]",
        "space.kernels=[3,5]",
        "space.expansions=[1,2]",
        "space.depths=[1]",
        "task.limit=200",
        "search.batch_size=8",
        "evaluation.statistics_samples=32",
        "verify.epochs=1",
    ),
)
OWN_WEIGHTS = {"hat": HAT, "ofa": OFA}
