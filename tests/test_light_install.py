"""Where torch and NumPy alone are installed: the solver works, and what does not says which extra brings it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest

import modnas_fast
from modnas_fast.runtime.extras import EXTRAS

SOLVER = """
import torch
from modnas_fast import min_norm
from modnas_fast.mgd import mgd_backward
assert min_norm(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).weights.tolist() == [0.75, 0.25]
trunk = torch.nn.Linear(3, 2)
y = trunk(torch.ones(4, 3))
found = mgd_backward([y[:, 0].sum(), y[:, 1].square().sum()], trunk.parameters(), normalize="l2")
assert trunk.weight.grad is not None and abs(float(found.weights.sum()) - 1) < 1e-12
from modnas_fast.runtime import implementations
print(implementations.chosen("min_norm", "cpu").name)
"""


def required(name: str, found: set[str]) -> set[str]:
    """A distribution's name and those of all that it needs without extras, as they are installed here."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    try:
        needed = distribution(name).requires or []
    except PackageNotFoundError:
        return found
    if name not in found:
        found.add(name)
        for line in needed:
            if "extra ==" not in line:
                required(re.split(r"[^\w.-]", line)[0], found)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to torch, NumPy, what they need, and this package."""
    folder = tmp_path_factory.mktemp("site")
    names = required("torch", set()) | required("numpy", set())
    for name in names:
        for file in distribution(name).files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    (folder / "modnas_fast").symlink_to(Path(modnas_fast.__file__).parent)
    return folder


def run(site: Path, program: str) -> subprocess.CompletedProcess[str]:
    """A program of an interpreter that has the standard library and this folder."""
    program = f"import sys; sys.path.append({str(site)!r})\n{program}"
    return subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=300)


def test_the_solver_needs_torch_and_numpy_alone(site: Path) -> None:
    assert not {"pydantic", "scipy", "typer", "sklearn"} & {path.name for path in site.iterdir()}
    done = run(site, SOLVER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in (["c++"], ["reference"])


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import modnas_fast; modnas_fast.search()", "ModuleNotFoundError: "),
        ("import modnas_fast; modnas_fast.Result", "ModuleNotFoundError: "),
        ("from modnas_fast.spaces import NB201Space", "ModuleNotFoundError: "),
        ("sys.argv = ['modnas-fast', 'search']; from modnas_fast.cli import main; main()", "modnas-fast: "),
        ("import runpy; runpy.run_module('modnas_fast', run_name='__main__')", "modnas-fast: "),
    ],
)
def test_what_lacks_a_package_names_the_extra(site: Path, program: str, says: str) -> None:
    done = run(site, program)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(re.escape(says) + r"\w+ is missing; pip install 'modnas-fast\[search\]'", last), done.stderr


def test_extras_are_those_of_the_distribution() -> None:
    """What an extra is said to bring is of the distributions that it asks for, and all of these are told."""
    asked: dict[str, set[str]] = {extra: set() for extra in EXTRAS}
    for line in distribution("modnas-fast").requires or ():
        found = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", line)
        if found and found[2] in asked:
            asked[found[2]].add(re.sub(r"[-_.]+", "-", found[1]).lower())
    distributions = packages_distributions()
    for extra, packages in EXTRAS.items():
        brought = [{re.sub(r"[-_.]+", "-", name).lower() for name in distributions[package]} for package in packages]
        assert all(names & asked[extra] for names in brought), extra
        assert asked[extra] <= set().union(*brought), extra
