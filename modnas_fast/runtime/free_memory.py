"""How much memory can still be taken: on a GPU what it has, else what machine, container and shell leave."""

from __future__ import annotations

from pathlib import Path

import torch

GROUPS = Path("/sys/fs/cgroup")
#: share of the free memory that may be used
SHARE = 0.8


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what torch holds and does not use it will use again
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [number for number in (_available(), _left_in_groups(), _left_to_process()) if number is not None]
    return min(limits, default=None)


def _available() -> int | None:
    """What Linux can give without swapping."""
    return _field(Path("/proc/meminfo"), "MemAvailable:")


def _left_to_process() -> int | None:
    """What `ulimit -v` leaves; None without one."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _field(Path("/proc/self/status"), "VmSize:")
    return None if limit == resource.RLIM_INFINITY or used is None else max(0, limit - used)


def _field(source: Path, name: str) -> int | None:
    """Bytes that a line `name: … kB` of a file of the kernel tells; None where there is none."""
    if source.exists():
        for line in source.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None


def _left_in_groups(root: Path = GROUPS, membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """What the limits of this process's control group and of those around it leave; None without any.

    In a container the group's own path is often not visible: its limit then stands in the root. Pages of files that
    nobody used lately count as free: the kernel gives them up before it kills a process.
    """
    limits = []
    for folder, (limit_file, used_file, idle) in _group_folders(root, membership):
        limit, used = _number(folder / limit_file), _number(folder / used_file)
        if limit is not None and used is not None and limit < 2**60:  # version 1 writes a huge number for no limit
            limits.append(max(0, limit - used + _idle_pages(folder / "memory.stat", idle)))
    return min(limits, default=None)


#: per version of control groups: the files of the limit and of what is used, and the line of memory.stat that tells of
#: file pages not used lately
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def _group_folders(root: Path, membership: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """The folders of the process's group, of all around it, and the roots, each with its version."""
    found = [(root, VERSION_2), (root / "memory", VERSION_1)]
    lines = membership.read_text(encoding="utf-8", errors="replace").splitlines() if membership.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        top, names = (root, VERSION_2) if not controllers else (root / "memory", VERSION_1)
        if not controllers or "memory" in controllers.split(","):
            folder = top / path.lstrip("/")
            found += [(f, names) for f in (folder, *folder.parents) if f.is_relative_to(top) and f != top]
    return found


def _idle_pages(stat: Path, name: str) -> int:
    lines = stat.read_text(encoding="ascii").splitlines() if stat.exists() else []
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
