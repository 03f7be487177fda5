"""How pytest-xdist divides the tests among processes."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

#: long files whose tests share nothing but with those of the same parameter
DIVIDED = ("tests/cli/test_kinds_of_runs.py", "tests/ops/test_mixed_cell_triton.py")


class ByFile(LoadFileScheduling):
    """Gives a file's tests to one process, since they share what they read; those of divided files by parameter."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        return f"{file}{test[test.find('[') :]}" if file in DIVIDED and "[" in test else file
