"""Networks that a search finds in a trained residual network, beside the same network narrowed uniformly.

    modnas-fast bench converted --data FOLDER [--quick] [--seeds N] [--batch B] [--json FILE]

A small ResNet (He et al. 2016: three stages of 16, 32 and 64 channels) is trained on images such as CIFAR-10's, and
becomes a space (`elastic.from_module`: widths per group of channels, and blocks that may be left out), which is
searched as any other. Its rivals are the same trained network with all widths at 0.25, 0.5 or 0.75 and all blocks.
Networks of the front and rivals are timed here in turns, on one thread. For each rival the best by the search of those
that take no longer stands for ours. Both begin with the trained network's weights and are trained on alike, by the same
seed; errors are those on the test part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modnas_fast import Result, elastic, search
from modnas_fast.bench.runner import Parser, count, medians, run, write_results
from modnas_fast.config import Config, VerifyConfig, make_config
from modnas_fast.devices.machine import Setting
from modnas_fast.runtime.checkpoint import save_weights
from modnas_fast.spaces import Architecture, SearchSpace
from modnas_fast.tasks.make import make_task
from modnas_fast.tasks.task import Task
from modnas_fast.tasks.training import train_network

SHARES = (0.25, 0.5, 0.75, 1.0)
SIDE = 32
#: how often every network is timed
ROUNDS = 25


class _Size(NamedTuple):
    """How much is computed: of the images, of the network, and epochs and steps of training."""

    task: dict[str, int]
    blocks: int
    epochs: int
    steps: tuple[int, int]
    #: epochs of the chosen networks
    further: int


WHOLE = _Size({"limit": 6000, "test_limit": 2000, "resize": SIDE}, 2, 10, (150, 40), 5)
QUICK = _Size({"limit": 600, "test_limit": 200, "resize": SIDE}, 2, 1, (8, 4), 1)


class _Block(nn.Module):
    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        stride = given // taken
        self.conv1 = nn.Conv2d(taken, given, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(given)
        self.conv2, self.norm2 = nn.Conv2d(given, given, 3, padding=1, bias=False), nn.BatchNorm2d(given)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(taken, given, 1, stride, bias=False), nn.BatchNorm2d(given))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


def resnet(classes: int, blocks: int, width: int = 16) -> nn.Sequential:
    """A ResNet of 6 `blocks` + 2 layers for images [B, 3, H, W]."""
    stages, taken = [], width
    for given in (width, 2 * width, 4 * width):
        stages.append(nn.Sequential(*(_Block(taken if k == 0 else given, given) for k in range(blocks))))
        taken = given
    stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes))


def space(weights: str, classes: int, blocks: int, depth: bool = True) -> elastic.ModuleSpace:
    """The space of a trained one, by its file."""
    model = resnet(classes, blocks)
    model.load_state_dict(load_file(weights))
    return elastic.from_module(model, torch.randn(2, 3, SIDE, SIDE), widths=SHARES, depth=depth)


def narrowed(whole: SearchSpace, widths: Sequence[str], share: float) -> Architecture:
    """All `widths` of a space, choices by name, at a share of the model's; everything else as the model has it."""
    place = SHARES.index(share)
    return whole.architecture([place if c.name in widths else len(c.options) - 1 for c in whole.choices])


def best_within(errors: Mapping[str, float], latencies: Mapping[str, float], limit: float) -> str | None:
    """The network of least error whose latency is at most `limit`.

    >>> best_within({"a": 30.0, "b": 20.0, "c": 10.0}, {"a": 1.0, "b": 2.0, "c": 3.0}, 2.5)
    'b'
    """
    return min((text for text in errors if latencies[text] <= limit), key=lambda text: errors[text], default=None)


def timed(whole: SearchSpace, texts: Sequence[str], batch: int, rounds: int) -> dict[str, float]:
    """Median ms of a pass of each network over a batch on one thread, in turns."""
    x, before = torch.randn(batch, 3, SIDE, SIDE), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            networks = {text: whole.build(whole.parse(text)).eval() for text in texts}
            seconds = medians({text: partial(network, x) for text, network in networks.items()}, rounds)
    finally:
        torch.set_num_threads(before)
    return {text: 1e3 * value for text, value in seconds.items()}


def searched(config: Config, folder: Path, weights: Mapping[str, Any], steps: Sequence[int]) -> Result:
    """A run among the networks in the trained one, with `steps` of w alone and of both."""
    warmup, both = steps
    own = {"name": "modnas_fast.bench.converted:space", "options": dict(weights)}
    tree = {**config.model_dump(mode="json"), "space": own}
    overrides = [
        f"search.warmup_steps={warmup}",
        f"search.steps={both}",
        "search.weight_learning_rate=0.01",
        "search.sandwich=true",
        "search.batch_size=64",
        "search.refine_networks=120",
        "devices.formats=[float32]",
        "devices.minutes=2",
        "devices.unseen=[]",
        "verify.networks=0",
        "report.plots=false",
    ]
    return search(make_config(tree, overrides=overrides), out=folder / "run")


def beside(
    result: Result, trained: Mapping[str, Any], task: Task, batch: int, recipe: VerifyConfig, seed: int
) -> Iterator[dict[str, Any]]:
    """Per rival: its latency and error, and those of the network that stands for ours, if there is one."""
    whole, widths = result.space, [choice.name for choice in space(**trained, depth=False).choices]
    rivals = {share: narrowed(whole, widths, share).text for share in SHARES[:-1]}
    device = Setting("cpu", 1, batch, torch.float32).name
    told = {point.architecture: point.values[0] for point in result.front(device)}
    taken = timed(whole, list(dict.fromkeys([*rivals.values(), *told])), batch, ROUNDS)
    errors: dict[str, float] = {}

    def error(text: str) -> float:
        if text not in errors:
            network = whole.build(whole.parse(text))
            errors[text] = train_network(network, task, recipe, augment=True, seed=seed)
        return errors[text]

    for share, rival in rivals.items():
        ours = best_within(told, taken, taken[rival])
        row = {"seed": seed, "share": share, "rival": rival, "rival_ms": taken[rival], "rival_error": error(rival)}
        if ours is not None:
            row |= {"ours": ours, "ours_ms": taken[ours], "ours_error": error(ours)}
        yield row


def main(argv: list[str] | None = None) -> None:
    """Trains, searches and prints, seed by seed."""
    parser = Parser("converted", str(__doc__))
    parser.add_argument("--data", required=True, help="images with classes, as of modnas-fast search")
    parser.add_argument("--quick", action="store_true", help="one seed, small, to see that it works")
    parser.add_argument("--seeds", type=count, default=2, help="trained networks and searches; default: 2")
    parser.add_argument("--batch", type=count, default=32, help="images that are timed at once; default: 32")
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    size = QUICK if given.quick else WHOLE
    rows = []
    for seed in range(1 if given.quick else given.seeds):
        config = make_config(preset="images", seed=seed, task={"data": given.data, **size.task})
        task = make_task(config)
        classes = task.network["classes"]
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = resnet(classes, size.blocks)
            error = train_network(model, task, VerifyConfig(epochs=size.epochs), augment=True, seed=seed)
            print(f"seed {seed}: the trained network errs in {error:.1f} %", flush=True)
            save_weights(Path(folder) / "trained.safetensors", model.state_dict())
            trained = {"weights": str(Path(folder) / "trained.safetensors"), "classes": classes, "blocks": size.blocks}
            result = searched(config, Path(folder), trained, size.steps)
            recipe = VerifyConfig(epochs=size.further, learning_rate=0.02)
            for row in beside(result, trained, task, given.batch, recipe, seed):
                rows.append({**row, "trained_error": error})
                print(_line(rows[-1]), flush=True)
    found = [row for row in rows if "ours" in row]
    if found:
        gain = fmean(row["rival_error"] - row["ours_error"] for row in found)
        print(
            f"{len(found)} of {len(rows)} rivals have a network beside them, which errs less by {gain:.2f} on average"
        )
    if given.json:
        write_results(given.json, "converted", rows, quick=given.quick, batch=given.batch, data=Path(given.data).name)


def _line(row: Mapping[str, Any]) -> str:
    rival = f"{row['rival_ms']:7.2f} ms {row['rival_error']:5.1f} %"
    ours = f"{row['ours_ms']:7.2f} ms {row['ours_error']:5.1f} %  {row['ours']}" if "ours" in row else "nothing as fast"
    return f"  all widths × {row['share']:<5g}{rival}   searched {ours}"


if __name__ == "__main__":
    run(main)
