"""The folder of a run: its files, and how one is made and found again.

    config.yaml                    the resolved configuration
    files.json                     SHA-256 of files that the configuration names, such as pretrained weights
    vocabulary.json                of a run on texts: what its tokens are, see `datasets.load_vocabulary`
    measurements.json              costs that the search rests on; of a table, of which networks; and the errors queried
    metapredictor.safetensors      of every cost that is predicted
    checkpoint.pt                  state of the running search
    hypernetwork.safetensors  supernet.safetensors  history.json
    curve.json                     when the search was evaluated on its way: steps, and seconds since the run began
    evaluation.json                rays, random networks, hypervolumes
    baselines.json                 fronts of black-box searches with the same weights, where they are asked for
    measures.json                  further measures of the answers' networks, such as BLEU
    verification.json              test errors of networks trained from scratch
    verified/DIGEST.safetensors    their weights, see `trained_file`
    costs.json                     costs measured after the search
    predictor.json                 predictions beside measurements
    table.parquet                  of a run on a table: its errors and costs, so that queries answer with them
    result.json  answers.npz       the answer, and what questions need of it: see docs/answers.md
    measured.json                  costs measured when the run had finished, see `measured_later`
    drawings.json                  networks of the fronts, drawn for the report
    report.html  plots/
    run.lock                       while a process works in it, see `run_lock`

Without a supernet there is no supernet.safetensors, with a known truth no verification.json, without measuring no
costs.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from modnas_fast.datasets.home import VOCABULARY_FILE
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import write_new

if TYPE_CHECKING:  # a finished run is asked without validating its configuration
    from modnas_fast.config import Config

CONFIG_FILE = "config.yaml"
FILES_FILE = "files.json"
ACTIVATIONS_FILE = "activations.json"
MEASUREMENTS_FILE = "measurements.json"
PREDICTOR_FILE = "metapredictor.safetensors"
CHECKPOINT_FILE = "checkpoint.pt"
HYPERNETWORK_FILE = "hypernetwork.safetensors"
SUPERNET_FILE = "supernet.safetensors"
HISTORY_FILE = "history.json"
CURVE_FILE = "curve.json"
EVALUATION_FILE = "evaluation.json"
BASELINES_FILE = "baselines.json"
MEASURES_FILE = "measures.json"
VERIFICATION_FILE = "verification.json"
TRAINED_FOLDER = "verified"
COSTS_FILE = "costs.json"
QUALITY_FILE = "predictor.json"
TABLE_FILE = "table.parquet"
RESULT_FILE = "result.json"
MEASURED_FILE = "measured.json"
ANSWERS_FILE = "answers.npz"
#: what a run keeps of its inputs before anything is measured
FROM_INPUTS = (FILES_FILE, VOCABULARY_FILE, ACTIVATIONS_FILE)
#: of result.json
SCHEMA = 2


def answered(run: Path) -> bytes:
    """All that a finished run's answers rest on: result.json, and what was measured later."""
    later = run / MEASURED_FILE
    return (run / RESULT_FILE).read_bytes() + (later.read_bytes() if later.exists() else b"")


def trained_file(run: Path, architecture: str) -> Path:
    """Of the weights of a network that the run trained from scratch: digits of the SHA-256 of its string name it."""
    digest = hashlib.sha256(architecture.encode()).hexdigest()
    return run / TRAINED_FOLDER / f"{digest[:16]}.safetensors"


def create_run(folder: Path, config: Config) -> Path:
    """Makes the folder of a new run and writes its configuration. Raises InputError where it is in use.

    Of several processes that ask for one folder at once, one gets it.
    """
    from modnas_fast.config import to_yaml, with_absolute_paths

    if (folder / CONFIG_FILE).exists():
        raise InputError(f"--out: {folder} already holds a run; continue it with --resume {folder} or choose another")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise InputError(f"--out: {folder} exists and is not empty; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        write_new(folder / CONFIG_FILE, to_yaml(with_absolute_paths(config)))
    except FileExistsError:
        raise InputError(f"--out: another process has just begun a run in {folder}; choose another folder") from None
    return folder


def create_numbered_run(parent: Path, name: str, config: Config) -> Path:
    """Makes the first of parent/name-001, parent/name-002, … that does not exist the folder of a new run."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / f"{name}-{number:03d}"
        try:
            folder.mkdir()  # of several processes, one makes it
            return create_run(folder, config)
        except FileExistsError:
            number += 1


def discard_unstarted(folder: Path) -> None:
    """Removes the folder of a new run that ended before anything was measured: it can be used again."""
    names = [path.name for path in folder.iterdir()]
    if CONFIG_FILE in names and set(names) <= {*FROM_INPUTS, CONFIG_FILE}:
        for name in sorted(names, key=lambda name: name == CONFIG_FILE):  # what makes it a run goes last
            (folder / name).unlink()
        folder.rmdir()


def open_run(folder: Path) -> Config:
    """The configuration of an existing run. Raises InputError where there is none."""
    from modnas_fast.config import make_config

    if not (folder / CONFIG_FILE).is_file():
        raise InputError(f"--resume: {folder} holds no run ({CONFIG_FILE} is missing)")
    return make_config(file=folder / CONFIG_FILE)
