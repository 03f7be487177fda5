"""Further measures of the answers' networks, such as BLEU of translations, with weights inherited from the supernet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from modnas_fast.result.folder import MEASURES_FILE
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runs.kept import read_kept
from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.files import write_json
from modnas_fast.runtime.progress import Reporter


def measure_answers(
    inputs: Inputs, folder: Path, shared: Mapping[str, Tensor], texts: Sequence[str], reporter: Reporter
) -> dict[str, Any]:
    """Of each network by name of the measure, kept network by network in the folder; nothing where there are none.

    Args:
        inputs: of the run.
        folder: of the run.
        shared: weights of the trained supernet, by name.
        texts: of the networks.
        reporter: where progress is told.
    """
    samples, names = inputs.config.evaluation.measured, inputs.task.measures
    if not names or not samples or inputs.space.inherited(shared, inputs.space.parse(texts[0])) is None:
        return {"seconds": 0.0, "networks": {}}
    path, samples = folder / MEASURES_FILE, min(samples, inputs.task.size("test"))
    fresh = {"seconds": 0.0, "names": list(names), "samples": samples, "networks": {}}
    content: dict[str, Any] = read_kept(path) if path.exists() else fresh
    left = [text for text in dict.fromkeys(texts) if text not in content["networks"]]
    with reporter.stage(f"Measuring {', '.join(names)}", len(left)) as advance:
        for done, text in enumerate(left, 1):
            begun = time.monotonic()
            try:
                content["networks"][text] = _measured(inputs, shared, text, samples)
            except InputError as error:  # a library is missing, or the networks cannot do it: none of them can
                reporter.say(f"  note: no {', '.join(names)}: {one_line(error)}")
                return {"seconds": 0.0, "networks": {}}
            content["seconds"] += time.monotonic() - begun
            write_json(path, content)
            advance(done)
    return content


def _measured(inputs: Inputs, shared: Mapping[str, Tensor], text: str, samples: int) -> dict[str, float]:
    architecture = inputs.space.parse(text)
    network = inputs.space.build(architecture, **inputs.network)
    weights = inputs.space.inherited(shared, architecture)
    assert weights is not None
    network.load_state_dict(weights)
    return inputs.task.measures_of(network.eval(), samples)
