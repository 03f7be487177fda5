"""Chosen networks trained from scratch, one on each rank at a time, so that their test quality is their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from modnas_fast.result.folder import VERIFICATION_FILE, trained_file
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runs.kept import read_kept
from modnas_fast.runtime.checkpoint import packed, save_weights, unpacked
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.progress import Advance, Reporter
from modnas_fast.runtime.ranks import Ranks
from modnas_fast.tasks.training import train_network

#: `test` quality of a network, what else is `shown` of it, and `notes`; and its `weights` by name, on the CPU
Trained = dict[str, Any]


def verify(
    run: Path,
    chosen: Sequence[str],
    train: Callable[[str, Advance], Trained],
    epochs: int,
    ranks: Ranks,
    reporter: Reporter,
) -> dict[str, Any]:
    """`test` quality and what is `shown` by network, and the `seconds` that they took.

    Args:
        run: folder where rank 0 keeps that and the networks' weights, network by network, or as many at a time as there
            are ranks.
        chosen: networks, the same on all ranks.
        train: trains one of them, and tells the epochs done.
        epochs: of each.
        ranks: all of them call this together.
        reporter: where progress and notes are told.
    """
    path = run / VERIFICATION_FILE
    content: dict[str, Any] = ranks.from_first(
        lambda: read_kept(path) if path.exists() else {"seconds": 0.0, "test": {}}
    )
    left = [text for text in chosen if text not in content["test"]]
    if not left:
        return content
    with reporter.stage("Training chosen networks", len(left) * epochs) as advance:
        for begin in range(0, len(left), ranks.size):
            begun, some = time.monotonic(), left[begin : begin + ranks.size]
            _add(run, content, some, train, _behind(advance, begin * epochs, len(some)), ranks, reporter)
            content["seconds"] += time.monotonic() - begun
            if ranks.first:
                write_json(path, content)
    return content


def _behind(advance: Advance, before: int, side_by_side: int) -> Advance:
    """Epochs of networks that are trained side by side, of which one rank tells its own."""
    return lambda done: advance(before + side_by_side * done)


def _add(
    run: Path,
    content: dict[str, Any],
    texts: Sequence[str],
    train: Callable[[str, Advance], Trained],
    on_epoch: Advance,
    ranks: Ranks,
    reporter: Reporter,
) -> None:
    """Adds what networks came to: the first is trained on rank 0, the next on rank 1, and so on."""
    own = ranks.together(lambda: train(texts[ranks.rank], on_epoch) if ranks.rank < len(texts) else {})
    weights = ranks.gather_bytes(packed(own.pop("weights", {})))
    if ranks.first:
        for text, of_text in zip(texts, weights):
            save_weights(trained_file(run, text), unpacked(of_text))
    for text, found in zip(texts, ranks.gather(own)):
        content["test"][text] = found["test"]
        content.setdefault("shown", {})[text] = found["shown"]
        for note in found["notes"]:
            reporter.say(f"  note: {note}")


def train_chosen(inputs: Inputs, text: str, on_epoch: Advance) -> Trained:
    """Its test quality and weights; what else the task measures of it, and a sample of what it does; and `notes`."""
    config, task = inputs.config, inputs.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = inputs.space.build(inputs.space.parse(text), **inputs.network)
    quality = train_network(
        network,
        task,
        config.verify,
        augment=config.task.augment,
        seed=config.seed,
        device=inputs.device,
        on_epoch=on_epoch,
    )
    found, notes = {}, []
    for name, ask in (
        ("measures", lambda: task.measures_of(network)),
        ("sample", lambda: task.sample_of(network, config.seed)),
    ):
        try:
            found[name] = ask()
        except InputError as error:
            notes.append(f"no {name} of it: {one_line(error)}")
    shown = {name: what for name, what in found.items() if what}
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    return {"test": quality, "shown": shown, "notes": notes, "weights": weights}
