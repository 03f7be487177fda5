"""`modnas-fast bench`: runs one of the benchmarks in modnas_fast.bench with options of its own."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Annotated

import typer

from modnas_fast.runtime.errors import InputError

#: what each measures
BENCHMARKS = {
    "search_step": "one whole step of a search, beside the published way and plain PyTorch",
    "gpt_step": "the supernet's part of a step among GPTs, beside the published way and sliced networks",
    "hat_step": "the same among encoder-decoders, beside masks on the largest network",
    "mobilenet_step": "the same among MobileNetV3s, beside one network at a time through dynamic layers",
    "mixed_cell": "the kernels of the supernet's cell",
    "entangled_linear": "linear layers with entangled weights",
    "elastic_depthwise": "depth-wise convolution, norm and activation of mobile networks, beside torch's own",
    "scaling": "messages between ranks, and the steps on up to 1,024 of them that they let one expect",
    "many_devices": "a search on 1,000 virtual devices: seconds, ratios to exact fronts (with MODNAS_DATA)",
    "min_norm": "the min-norm solver beside TorchJD and quadprog (in a source tree, with the test extras)",
    "measuring": "campaigns on this machine one after the other: how far latencies agree",
    "kit": "a kit on this machine beside direct measurements of the same files",
    "converted": "what a search finds in a trained network, beside narrowing it uniformly (on images with classes)",
    "pick": "questions to a finished run, beside the same in torch",
    "conformal": "how often networks picked with a confidence keep their promise (with MODNAS_DATA)",
    "metapredictor": "ranking and speed of the metapredictors (in a source tree, with MODNAS_DATA)",
}


def available() -> dict[str, str]:
    """The benchmarks that are installed, with what each measures."""
    if importlib.util.find_spec("modnas_fast.bench") is None:
        return {}
    return {name: what for name, what in BENCHMARKS.items() if importlib.util.find_spec(f"modnas_fast.bench.{name}")}


def _help() -> str:
    lines = [f"{name:<18}{what}" for name, what in available().items()]
    return "\n".join(
        [
            "Measure speed on this machine beside peers, in turns, as ratios of medians.",
            "",
            "Options behind NAME are the benchmark's own; most take --quick, --json FILE and --threads N.",
            "",
            "\b",
            *lines,
            "",
            "Examples:",
            "",
            "  modnas-fast bench search_step --help",
            "",
            "  modnas-fast bench search_step --quick --parts --json step.json",
        ]
    )


def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which benchmark; the list is above.")],
) -> None:
    """Measure speed on this machine; `add_to` gives the command its full help."""
    names = available()
    if name not in names:
        wanted = f"wanted one of {', '.join(names)}" if names else "none is installed; reinstall modnas-fast"
        raise InputError(f"bench: {wanted}, got {name!r}" if names else f"bench: {wanted}")
    importlib.import_module(f"modnas_fast.bench.{name}").main(context.args)


def add_to(app: typer.Typer) -> None:
    """Registers the command: what stands behind NAME is left to the benchmark, its --help included."""
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command(context_settings=settings, help=_help())(bench)
