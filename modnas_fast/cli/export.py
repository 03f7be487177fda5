"""`modnas-fast export`: networks of a finished run as files to deploy."""

from __future__ import annotations

import json
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modnas_fast.cli.budgets import budget_of
from modnas_fast.runtime.errors import InputError

if TYPE_CHECKING:
    from modnas_fast.deployment import Deployment


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the files; or one to be continued.")],
    device: Annotated[str, typer.Option(help="Name of a device of the run; pick --devices lists them.")],
    max_: Annotated[
        list[str] | None,
        typer.Option("--max", metavar="METRIC=VALUE", help="Budget, such as latency_ms=5. Repeatable."),
    ] = None,
    preference: Annotated[
        str | None, typer.Option(metavar="W1,W2", help="Weights of the objectives in their order, such as 0.3,0.7.")
    ] = None,
    whole: Annotated[bool, typer.Option("--all", help="All networks of the device's front, a folder each.")] = False,
    verified: Annotated[
        bool,
        typer.Option("--verified", help="Of the networks that the search trained from scratch, with those weights."),
    ] = False,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="onnx (default), pt2 or safetensors. Repeatable.")
    ] = None,
    epochs: Annotated[
        int, typer.Option("--finetune", metavar="EPOCHS", help="Train the network further on the run's data.")
    ] = 0,
    distill: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of that training's loss by the largest network's outputs.")
    ] = 0.0,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of that training. Default: a tenth of verify.learning_rate.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Beside ONNX, the same with 8-bit weights.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifests as JSON.")] = False,
) -> None:
    """Write networks of a finished run as files, with their weights, checked, tested and measured.

    Weights come from the run's supernet, with statistics of batch normalisations computed anew, or with --verified from
    the training from scratch that verified the network; they may be trained further. Each file is run again and must
    give the network's outputs; manifest.json and README.md say what it is. The same command continues an export that
    was stopped or killed. ONNX needs pip install 'modnas-fast[export]'.

    Examples:

      modnas-fast export runs/digits-001 phone/ --device cpu_t1_b1_fp32 --max latency_ms=0.8

      modnas-fast export runs/digits-001 phone/ --device cpu_t1_b1_fp32 --max latency_ms=0.8 --finetune 5 --int8

      modnas-fast export runs/digits-001 phone/ --device cpu_t1_b1_fp32 --max latency_ms=0.8 --verified

      modnas-fast export runs/digits-001 fronts/ --device cpu_t1_b1_fp32 --all --to pt2 --to safetensors
    """
    from modnas_fast.cli.pick import on_the_command_line, weights_of
    from modnas_fast.deployment import deploy
    from modnas_fast.deployment.finetuning import FineTuning
    from modnas_fast.runtime.progress import Terminal
    from modnas_fast.runtime.stopping import Stopped, Stopper

    terminal, stopper = Terminal(), Stopper()
    try:
        with stopper.listening():
            found = deploy(
                run,
                out,
                device=device,
                max=budget_of(max_),
                preference=weights_of(preference),
                front=whole,
                verified=verified,
                finetuning=FineTuning(epochs, distill, learning_rate),
                formats=to or ("onnx",),
                int8=int8,
                reporter=terminal,
                stopper=stopper,
            )
    except InputError as error:
        raise on_the_command_line(error) from None
    except Stopped:
        terminal.say(f"Stopped. The same command continues in {shlex.quote(str(out))}")
        raise
    if as_json:
        print(json.dumps([deployment.manifest for deployment in found]))
    else:
        print("\n\n".join(_in_words(deployment) for deployment in found))
        for line in kept_promises([deployment.manifest for deployment in found]) if whole else []:
            print(f"\n{line}")


def _in_words(deployment: Deployment) -> str:
    content = deployment.manifest
    quality = content["quality"]
    lines = [
        content["architecture"],
        f"test {quality['name']:<16}{quality['test']:.2f} {quality['unit']}",
    ]
    for key, cost in content["promised"].items():
        found = content["measured"].get(key)
        beside = f", measured {found['value']:.4g}" if found else ""
        lines.append(f"{key:<21}{cost['source']} {cost['value']:.4g}{beside}")
    on = content["timed_on"]
    for name, facts in content["files"].items():
        took = f"{facts['pass_ms']:.4g} ms a pass on {on['name']}" if "pass_ms" in facts else "weights alone"
        tested = f", test {quality['name']} {facts['test']:.2f} {quality['unit']}" if "test" in facts else ""
        lines.append(f"{deployment.folder / name}: {took}{tested}")
    return "\n".join(lines)


def kept_promises(manifests: Sequence[dict[str, Any]]) -> list[str]:
    """By cost of which networks were predicted and measured: how far measurements are from what was promised."""
    lines = []
    for key in dict.fromkeys(key for manifest in manifests for key in manifest["measured"]):
        pairs = [(manifest["promised"][key], manifest["measured"][key]["value"]) for manifest in manifests]
        predicted = [(cost, value) for cost, value in pairs if cost["source"] == "predicted"]
        apart = [abs(value / cost["value"] - 1) for cost, value in predicted if not cost["extrapolated"]]
        beside = f"; {left} more were extrapolated" if (left := len(predicted) - len(apart)) else ""
        if apart:
            middle = f"median deviation {100 * statistics.median(apart):.1f} % of {len(apart)} predicted networks"
            lines.append(f"{key}: measured beside promised, {middle}{beside}")
        elif beside:
            lines.append(f"{key}: no promise to be judged{beside.replace(' more', '')}")
    return lines
