"""Measurements kept per machine, so that a second run and a resumed run see the same values."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path

from modnas_fast.devices.machine import Fingerprint
from modnas_fast.devices.measure import Measurement
from modnas_fast.errors import InputError
from modnas_fast.files import cache_folder, read_json, write_json

SCHEMA = 1


class MeasurementCache:
    """Measurements of one machine fingerprint for one family of networks, in one JSON file.

    A changed fingerprint (CPU, cores, threads, torch, GPUs) or another family (image shape, C, N) is another file.
    """

    def __init__(self, fingerprint: Fingerprint, networks: dict[str, object], folder: Path | None = None) -> None:
        self._identity = {"fingerprint": fingerprint.to_dict(), "networks": networks}
        digest = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        self.path = (folder or cache_folder()) / "measurements" / f"{digest[:16]}.json"

    @cached_property
    def _values(self) -> dict[str, dict[str, list[float]]]:
        return self._read()  # at the first use: `clear` must mend a damaged file

    def get(self, setting: str, network: str) -> Measurement | None:
        """The measurement of a network on a setting, or None."""
        value = self._values.get(setting, {}).get(network)
        return Measurement(*value) if value else None

    def update(self, measured: dict[tuple[str, str], Measurement]) -> None:
        """Adds measurements and writes the file, keeping what another process added meanwhile."""
        self._values = self._read()
        for (setting, network), value in measured.items():
            self._values.setdefault(setting, {})[network] = [value.latency_ms, value.noise]
        write_json(self.path, {"schema": SCHEMA, **self._identity, "measurements": self._values})

    def clear(self) -> None:
        """Forgets everything measured for this fingerprint and family."""
        self.path.unlink(missing_ok=True)
        self._values = {}

    def _read(self) -> dict[str, dict[str, list[float]]]:
        if not self.path.exists():
            return {}
        try:
            content = read_json(self.path)
            return content["measurements"] if content["schema"] == SCHEMA else {}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"measurement cache {self.path} is damaged ({error}); delete it or pass --remeasure")
