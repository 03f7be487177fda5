"""manifest.json and README.md beside the files of a deployed network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from modnas_fast.datasets.registry import sha256_of
from modnas_fast.deployment.formats import INPUT, OPSET, OUTPUT
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json, write_text
from modnas_fast.runtime.objective import Objective
from modnas_fast.tasks.task import Task

MANIFEST, CARD = "manifest.json", "README.md"
SCHEMA = 1


@dataclass(frozen=True)
class Facts:
    """What is told of a deployed network; plain values."""

    made_of: dict[str, Any]
    asked: dict[str, Any]
    inputs: Inputs
    task: Task
    quality: Objective
    #: of the network and of its files, in the quality's unit
    qualities: dict[str, Any]
    #: by key, what the run promises, with its source
    promised: dict[str, dict[str, Any]]
    #: by key, what was measured in torch; empty where this machine is not the device
    measured: dict[str, dict[str, Any]]
    #: on which setting of this machine files were timed
    timed_on: dict[str, Any]
    #: by file
    latencies: dict[str, dict[str, float]]
    differences: dict[str, float]
    names: list[str]


def versions() -> dict[str, str]:
    """Of the packages that made the files."""
    found = {}
    for package in ("modnas-fast", "torch", "onnx", "onnxruntime", "onnxscript"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_manifest(folder: Path, facts: Facts) -> dict[str, Any]:
    """Writes the model card and, last of all, the manifest; what that holds."""
    config, task = facts.inputs.config, facts.task
    example = task.inputs(1)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "architecture": facts.made_of["architecture"],
        "space": {"name": config.space.name, "arguments": config.space.arguments},
        "seed": config.seed,
        "device": facts.made_of["device"],
        "asked": facts.asked,
        "made_of": facts.made_of,
        "data": {**task.description(), "sha256": facts.made_of["data_sha256"]},
        "versions": versions(),
        "quality": {"name": facts.quality.name, "unit": facts.quality.unit, **facts.qualities},
        "promised": facts.promised,
        "measured": facts.measured,
        "timed_on": facts.timed_on,
        "computes": task.computes,
        "preparation": task.preparation(),
        "input": {
            "name": INPUT,
            "dtype": str(example.dtype).removeprefix("torch."),
            "shape": ["batch", *(task.varying.get(at, size) for at, size in enumerate(example.shape[1:], 1))],
        },
        "output": OUTPUT,
        "opset": OPSET if any(name.endswith(".onnx") for name in facts.names) else None,
        "files": {
            name: {
                "sha256": sha256_of(folder / name),
                "bytes": (folder / name).stat().st_size,
                **({"largest_difference": facts.differences[name]} if name in facts.differences else {}),
                **facts.latencies.get(name, {}),
                **({"test": facts.qualities["files"][name]} if name in facts.qualities["files"] else {}),
            }
            for name in facts.names
        },
    }
    write_text(folder / CARD, card(content))
    write_json(folder / MANIFEST, content)
    return content


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder. Raises InputError where it is damaged or of another version."""
    try:
        content: dict[str, Any] = read_json(folder / MANIFEST)
        if content["schema"] == SCHEMA and "made_of" in content:
            return content
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"OUT: {folder / MANIFEST} is damaged or of another version; delete the folder to export again")


def card(content: dict[str, Any]) -> str:
    """The model card of a manifest, in Markdown."""
    quality, name = content["quality"], f"{content['quality']['name']} ({content['quality']['unit']})"
    epochs = content["made_of"]["finetuning"]["epochs"]
    begun = (
        ("those of the search's supernet", "inherited weights", quality["inherited_test"])
        if "inherited_test" in quality
        else ("trained from scratch by the search", "weights as the search trained them", quality["verified_test"])
    )
    trained = f"then fine-tuned for {epochs} epochs" if epochs else "without fine-tuning"
    lines = [
        f"# {content['space']['name']} for {content['device']}",
        "",
        f"`{content['architecture']}`, found by modnas-fast {content['versions'].get('modnas-fast', '')}. Its weights "
        f"are {begun[0]}, {trained}, on {content['data']['name']}.",
        "",
        f"It computes {content['computes']}. Input `{content['input']['name']}`: {content['input']['dtype']} "
        f"{content['input']['shape']}; output `{content['output']}`.",
        "",
        *_prepared(content["preparation"]),
        f"| {name}, test part | |",
        "|---|---|",
        f"| {begun[1]} | {begun[2]:.4g} |",
        f"| the network as exported | {quality['test']:.4g} |",
        "",
        "| cost | promised by the run | measured here in torch |",
        "|---|---|---|",
    ]
    for key, cost in content["promised"].items():
        found = content["measured"].get(key)
        measured = "not measured" if found is None else f"{found['value']:.4g} {cost['unit']}"
        if found and found["doubt"]:
            measured += f" (not trustworthy: {found['doubt']})"
        lines.append(f"| {key} | {cost['value']:.4g} {cost['unit']} ({cost['source']}) | {measured} |")
    on = content["timed_on"]
    where = f"{on['name']}, the device itself" if on["is_device"] else f"{on['name']} of this machine, not the device"
    lines += [
        "",
        f"Files, timed on {where}:",
        "",
        "| file | ms per pass | test | largest difference |",
        "|---|---|---|---|",
    ]
    for file, facts in content["files"].items():
        parts = [facts.get(part) for part in ("pass_ms", "test", "largest_difference")]
        lines.append(f"| {file} | " + " | ".join("–" if part is None else f"{part:.4g}" for part in parts) + " |")
    lines += ["", "SHA-256 of data and files, versions and the seed stand in manifest.json."]
    return "\n".join(lines) + "\n"


def _prepared(preparation: dict[str, Any]) -> list[str]:
    """Lines of how inputs are made and outputs read."""
    return [*(f"- {name}: {value}" for name, value in preparation.items()), ""] if preparation else []
