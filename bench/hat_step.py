"""The supernet's part of a step of a search among encoder-decoders: prefixes of the weights beside masks on all.

Sizes are those of the preset hat-small: 64 pairs of 20 tokens a side, a vocabulary of 2,000, networks drawn at random,
one per device. Losses are what the default estimator asks for (Φ); the gradient of their mean by the weights is a step
of w.

  masks   the largest network, with masks on what each uses: the reference, and what a gradient by the samples takes
  ours    what `modnas-fast search --preset hat-small` runs: each network with its prefixes of the weights

Contenders take turns in one process; a time is a median, a ratio is one of medians, above 1 where ours is faster.
Refuses to run where losses or gradients differ by more than 1e-8 in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modnas_fast.bench.runner import Parser, count, counts, medians, ratios, run, shown, write_results
from modnas_fast.runtime.terminal_table import Column, FittedTable, show
from modnas_fast.spaces.hat.scales import SCALES
from modnas_fast.spaces.hat.space import HATSpace
from modnas_fast.spaces.hat.supernet import HATSupernet

#: whether samples are known to be hard, so that prefixes serve
CONTENDERS = {"masks": False, "ours": True}
#: what is timed: by its name, its heading
PARTS = {"by_weights": "w", "losses": "losses alone"}
#: how much contenders may differ in float64, relative to the largest number
TOLERANCE = 1e-8


class Setting(NamedTuple):
    """Sizes of a step."""

    devices: int = 8
    pairs: int = 64
    tokens: int = 20
    vocabulary: int = 2000
    scale: str = "small"


class Contender:
    """A supernet, a minibatch of made-up pairs, and a random network per device, the same each time."""

    def __init__(self, setting: Setting, hard: bool, dtype: torch.dtype = torch.float32) -> None:
        generator = torch.Generator().manual_seed(setting.devices)
        space, self._hard = HATSpace(setting.scale), hard
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._supernet = HATSupernet(space, setting.vocabulary).to(dtype)
        shape = (setting.pairs, 3, setting.tokens)
        ids = torch.randint(setting.vocabulary, shape, generator=generator)
        self._x, self._y = ids[:, :2], ids[:, 2]
        self._onehot = space.canonical(space.sample(setting.devices, generator)).to(dtype)

    @torch.no_grad()
    def losses(self) -> Tensor:
        """[T], a network at a time."""
        return torch.cat([self._losses(row) for row in self._onehot.split(1)])

    def by_weights(self) -> list[Tensor]:
        """The gradient of their mean by each shared weight."""
        self._supernet.zero_grad(set_to_none=True)
        for row in self._onehot.split(1):
            (self._losses(row).sum() / len(self._onehot)).backward()
        return [p.grad if p.grad is not None else torch.zeros_like(p) for p in self._supernet.parameters()]

    def _losses(self, onehot: Tensor) -> Tensor:
        return self._supernet.predict_from(self._x, onehot, hard=self._hard).losses(self._y)


def check(setting: Setting) -> None:
    """Raises RuntimeError where contenders disagree: then no time is worth printing."""
    made = [Contender(setting, hard, torch.float64) for hard in CONTENDERS.values()]
    for what, numbers in {
        "losses": [[one.losses()] for one in made],
        "gradients by weights": [one.by_weights() for one in made],
    }.items():
        for own, other in zip(*numbers, strict=True):
            error = float((own - other).abs().max() / own.abs().max().clamp(min=1e-300))
            if not error <= TOLERANCE:
                raise RuntimeError(f"hat_step: {what} of masks and of prefixes differ by {error:.1e}; run the tests")


def measured(setting: Setting, rounds: int) -> dict[str, Any]:
    """One row of the results."""
    contenders = {name: Contender(setting, hard) for name, hard in CONTENDERS.items()}
    row: dict[str, Any] = {**setting._asdict(), "seconds": {}, "ratio": {}}
    for part in PARTS:
        row["seconds"][part] = medians({name: getattr(one, part) for name, one in contenders.items()}, rounds)
        row["ratio"][part] = ratios(row["seconds"][part])
    return row


def table(row: dict[str, Any]) -> FittedTable:
    """One setting for the terminal."""
    seconds, ratio = row["seconds"], row["ratio"]
    rows = [
        [
            name,
            *(shown(seconds[part][name]) for part in PARTS),
            *(f"{ratio[part][name]:.2f} ×" if name in ratio[part] else "" for part in PARTS),
        ]
        for name in CONTENDERS
    ]
    headings = ["contender", *PARTS.values(), *(f"ours is faster by: {heading}" for heading in PARTS.values())]
    title = f"T = {row['devices']}, {row['pairs']} pairs of {row['tokens']} tokens, scale {row['scale']}"
    return FittedTable([Column(heading) for heading in headings], rows, title=title)


def main(arguments: Sequence[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("hat_step", __doc__ or "")
    parser.add_argument("--devices", type=counts, metavar="T,T", help="default: 1,8; with --quick 8")
    parser.add_argument("--pairs", type=count, default=64, help="default: 64")
    parser.add_argument("--tokens", type=count, default=20, help="of a side; default: 20")
    parser.add_argument("--vocabulary", type=count, default=2000, help="default: 2000")
    parser.add_argument("--scale", choices=tuple(SCALES), default="small", help="of the space; default: small")
    parser.add_argument("--rounds", type=count, help="turns of each contender; default: 15; with --quick 5")
    parser.add_argument("--quick", action="store_true", help="T = 8 alone, few rounds")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    check(Setting(3, 2, 6, 13, options.scale))
    results = []
    for devices in options.devices or ((8,) if options.quick else (1, 8)):
        setting = Setting(devices, options.pairs, options.tokens, options.vocabulary, options.scale)
        results.append(measured(setting, options.rounds or (5 if options.quick else 15)))
        show(table(results[-1]))
    if options.json:
        write_results(options.json, "hat_step", results)


if __name__ == "__main__":
    run(main)
