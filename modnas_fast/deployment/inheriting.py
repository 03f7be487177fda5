"""A standalone network with the weights that a run's supernet has for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from modnas_fast.result.folder import SUPERNET_FILE
from modnas_fast.runs.inputs import Inputs
from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces import Architecture
from modnas_fast.supernets.running_statistics import compute_statistics
from modnas_fast.tasks.task_objective import statistics_inputs


def shared_weights(folder: Path, inputs: Inputs) -> dict[str, Tensor]:
    """The weights of a run's supernet by name. Raises InputError where the run kept none, with the remedy."""
    path = folder / SUPERNET_FILE
    if not inputs.trains:
        raise InputError(
            f"run: {folder} searched a table and trained no weights (task.source=surrogate); search with --data, or "
            "train the network of Result.build yourself"
        )
    try:
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"run: {path} is missing; make the weights again with modnas-fast search --resume {folder}, "
                         f"after deleting {folder / 'result.json'}") from None  # fmt: skip
    except SafetensorError:
        raise InputError(f"run: {path} is damaged; put it back, or search again") from None


def inherited_network(inputs: Inputs, shared: Mapping[str, Tensor], architecture: Architecture) -> nn.Module:
    """The network in evaluation mode, on the CPU, with statistics of its batch normalisations computed anew.

    Args:
        inputs: of the run.
        shared: weights of its supernet, by name.
        architecture: of the run's space.

    Raises InputError where the space cuts out no networks, or the weights are not of its supernet.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(inputs.config.seed)
        network = inputs.space.build(architecture, **inputs.network)
    try:
        weights = inputs.space.inherited(shared, architecture)
        if weights is None:
            raise InputError(
                f"run: networks of space {inputs.space.name} cannot be cut out of its supernet; give the space a "
                "method inherited (SearchSpace.inherited)"
            )
        network.load_state_dict(weights)
    except (KeyError, RuntimeError, IndexError) as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"run: {SUPERNET_FILE} is not of this run's supernet ({first}); search again") from None
    compute_statistics(network, statistics_inputs(inputs.config, inputs.task.to("cpu")))
    return network.eval()


def largest_network(inputs: Inputs, shared: Mapping[str, Tensor]) -> nn.Module:
    """The space's largest network with its inherited weights. Raises InputError where the space has no such one."""
    ends = inputs.space.ends
    if ends is None:
        raise InputError(
            f"--distill: space {inputs.space.name} has no largest network that all others are parts of; leave it out"
        )
    return inherited_network(inputs, shared, ends[1])
