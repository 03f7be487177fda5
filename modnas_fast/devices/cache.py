"""Measurements kept per machine, so that a second run and a resumed run see the same values."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from modnas_fast.devices.machine import Fingerprint
from modnas_fast.devices.measure import Measurement
from modnas_fast.runtime.errors import InputError
from modnas_fast.runtime.files import cache_folder, read_json, write_json

#: 2: values in the units of the reference networks' first ones, with doubts
SCHEMA = 2
#: written for a try: about as much as the measurements of a run take
TRIED_BYTES = 100_000

#: [latency in ms, noise, doubt] by setting and network
Values = dict[str, dict[str, tuple[float, float, str]]]


class MeasurementCache:
    """Measurements of one machine fingerprint for one family of networks, in one JSON file.

    A changed fingerprint (docs/devices.md) or another family (input shape, C, N) is another file. The latencies of the
    reference networks stay what they were at first: whatever is measured later is told in their units.
    Where the file cannot be read or written, measurements stay in memory, and `note` is told once.
    """

    def __init__(
        self,
        fingerprint: Fingerprint,
        networks: dict[str, object],
        folder: Path | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._identity = {"fingerprint": fingerprint.to_dict(), "networks": networks}
        digest = hashlib.sha256(json.dumps(self._identity, sort_keys=True).encode()).hexdigest()
        self.path = (folder or cache_folder()) / "measurements" / f"{digest[:16]}.json"
        self._note = note
        self._on_disk = True

    @cached_property
    def _values(self) -> Values:
        return self._read()  # at the first use: `clear` must mend a damaged file

    def get(self, setting: str, network: str) -> Measurement | None:
        """The measurement of a network on a setting, or None."""
        value = self._values.get(setting, {}).get(network)
        return Measurement(*value) if value else None

    def try_writing(self) -> None:
        """Finds out whether the file could be written, so that a refusal is told before minutes of measuring."""
        with self._told():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent) as file:
                file.write(bytes(TRIED_BYTES))

    def update(self, measured: dict[tuple[str, str], Measurement]) -> None:
        """Adds measurements and writes the file, keeping what another process added meanwhile."""
        added = {key: (value.latency_ms, value.noise, value.doubt) for key, value in measured.items()}
        if self._on_disk:
            with suppress(InputError):  # damaged since it was read: what is in memory replaces it
                self._values = self._read()
        for (setting, network), value in added.items():
            self._values.setdefault(setting, {})[network] = value
        if self._on_disk:
            with self._told():
                write_json(self.path, {"schema": SCHEMA, **self._identity, "measurements": self._values})

    def clear(self) -> None:
        """Forgets everything measured for this fingerprint and family."""
        with self._told():
            self.path.unlink(missing_ok=True)
        self._values = {}

    def _read(self) -> Values:
        try:
            content = read_json(self.path)
            return _checked(content["measurements"]) if content["schema"] == SCHEMA else {}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self._tell(error)
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"measurement cache {self.path} is damaged ({error}); delete it or pass --remeasure"
            raise InputError(text) from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turns a refusal of the file system into a note."""
        try:
            yield
        except OSError as error:
            self._tell(error)

    def _tell(self, error: OSError) -> None:
        if self._on_disk:
            self._note(
                f"the cache {self.path.parent} cannot be used ({error.strerror or error}): measurements are kept in "
                "the run folder only (MODNAS_CACHE names another folder)"
            )
        self._on_disk = False


def _checked(measurements: Values) -> Values:
    for networks in measurements.values():
        for latency_ms, noise, doubt in networks.values():
            if not (0 < latency_ms < math.inf and 0 <= noise < math.inf and isinstance(doubt, str)):
                raise ValueError(f"{latency_ms} ms is no latency")
    return measurements
