"""A kit: networks of a space as files, and a plain script that measures them on any device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modnas_fast.datasets.registry import sha256_of
from modnas_fast.deployment.checks import check_outputs
from modnas_fast.deployment.formats import exported_program, need, save_onnx, save_program
from modnas_fast.devices.table_costs import LEAST_NETWORKS
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import read_json, write_json, write_text
from modnas_fast.runtime.progress import Reporter
from modnas_fast.spaces import SearchSpace

KIT, SCRIPT = "kit.json", "measure.py"
KIT_FORMATS = ("onnx", "pt2")


def make_kit(
    inputs: Inputs,
    out: Path,
    networks: int,
    batch: int,
    formats: Sequence[str],
    seed: int,
    reporter: Reporter,
    chosen: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Writes a kit; what kit.json holds. One that was killed continues with the network it had come to.

    Args:
        inputs: of a run, or of a configuration: their space, and the networks that its task builds.
        out: a new folder.
        networks: how many, the space's references first.
        batch: samples per pass.
        formats: of `onnx`, which is measured unless it is missing, and `pt2`.
        seed: fixes which networks.
        reporter: where progress is told.
        chosen: these networks behind the references, in place of others of the space; None: `networks` in all.

    Raises InputError for too few networks, an unknown format, and a folder with another kit.
    """
    wrong = [form for form in formats if form not in KIT_FORMATS]
    if wrong or not formats:
        raise InputError(f"--to: a kit takes {' and '.join(KIT_FORMATS)}, got {', '.join(wrong) or 'nothing'}")
    if batch < 1:
        raise InputError(f"--batch: wanted at least 1, got {batch}")
    if "onnx" in formats:
        need("onnx", "onnxscript", "onnxruntime")
    references = list(inputs.space.references)
    texts = drawn(inputs.space, networks, seed) if chosen is None else list(dict.fromkeys([*references, *chosen]))
    task = inputs.task.to("cpu")
    x = task.inputs(batch)
    about = {
        "space": inputs.config.space.name,
        "arguments": inputs.config.space.arguments,
        "built_with": json.loads(json.dumps(inputs.network)),
        "references": references,
        "networks": texts,
        "formats": list(formats),
        "input": _told_input(x, inputs.network),
    }
    plan = out / f".{KIT}.plan"
    if (out / KIT).exists() or plan.exists():
        kept = read_json(plan) if plan.exists() else read_json(out / KIT).get("about")
        if kept != about:
            raise InputError(f"OUT: {out} already holds another kit; choose another folder")
        if not plan.exists():
            found: dict[str, Any] = read_json(out / KIT)
            return found
    elif out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"OUT: {out} exists and is not empty; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(plan, about)
    entries = []
    with reporter.stage("Writing networks", len(texts)) as advance:
        for number, text in enumerate(texts):
            names = [f"{number:03d}.{form}" for form in formats]
            if not all((out / name).exists() for name in names):
                _write(inputs, text, seed, x, task.varying, [out / name for name in names])
            entries.append(
                {
                    "file": names[0],
                    "architecture": text,
                    "reference": text in references,
                    "sha256": sha256_of(out / names[0]),
                }
            )
            advance(number + 1)
    content = {"schema": 1, "about": about, "input": about["input"], "networks": entries}
    content["id"] = kit_id(content)
    write_text(out / SCRIPT, files("modnas_fast.deployment").joinpath(SCRIPT).read_text(encoding="utf-8"))
    write_json(out / KIT, content)
    plan.unlink()
    return content


def not_of_a_kit(inputs: Inputs) -> list[str]:
    """What a search would measure here that a kit's script does not, in words: it times whole passes."""
    costs = [cost for cost in inputs.config.objectives[1:] if cost in inputs.task.timed]
    parts = {cost: inputs.task.timing(cost).part for cost in costs}
    return [
        f"{cost} measured here is that of a {part}, a kit's that of a whole pass"
        for cost, part in parts.items()
        if part
    ]


def drawn(space: SearchSpace, count: int, seed: int) -> list[str]:
    """Networks of a kit, the references first, each once. Raises InputError for too few."""
    references = list(dict.fromkeys(space.references))
    if count < len(references):
        raise InputError(
            f"--networks: wanted at least the {len(references)} references, got {count}; a search wants "
            f"{LEAST_NETWORKS} or more"
        )
    generator = torch.Generator().manual_seed(seed)
    known = {a.text for a in space.decode(space.canonical(space.encode([space.parse(t) for t in references])))}
    pool = space.candidates(max(4096, 4 * count), generator)
    others = [a.text for a in space.decode(pool[torch.randperm(len(pool), generator=generator)]) if a.text not in known]
    return [*references, *others[: count - len(references)]]


def kit_id(content: dict[str, Any]) -> str:
    """What tells a kit from others: a digest of its networks, their files and their input."""
    parts = {key: content[key] for key in ("about", "input", "networks")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _told_input(x: Tensor, network: dict[str, Any]) -> dict[str, Any]:
    below = None if x.is_floating_point() else int(x.max()) + 1
    return {"shape": list(x.shape), "dtype": str(x.dtype).removeprefix("torch."), "below": below}


def _write(inputs: Inputs, text: str, seed: int, x: Tensor, varying: dict[int, str], paths: Sequence[Path]) -> None:
    """A network with weights drawn from the seed: what it costs does not depend on them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = inputs.space.build(inputs.space.parse(text), **inputs.network).eval()
    several = x if len(x) > 1 else torch.cat([x, x])
    program = exported_program(network, several, varying)
    for path in paths:
        (save_onnx if path.suffix == ".onnx" else save_program)(program, path)
    check_outputs(network, paths, [x])
