"""Named choices: what is built in, what is registered, and `package.module:object`, loaded when it is first used."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from modnas_fast.runtime.errors import InputError, one_line
from modnas_fast.runtime.suggestions import did_you_mean

#: package.module:object
PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


class Registry(Collection[str]):
    """The objects that one key of the configuration may name; a collection of the built-in names.

    A name is built in, or was given to `register` in this process, or is an entry point of the group
    `modnas_fast.<kind>` of an installed distribution, looked for in this order; any other object is named by its place,
    `package.module:object`. Nothing is imported before `find`.

    Args:
        kind: plural noun, the end of the group's name.
        key: of the configuration, which messages name.
        builtin: place of each built-in object by name.
        arguments: names of the positional arguments that an object of this kind is called with.
        keywords: names of its keyword arguments; a user's options come beside them.
        families: by the word before the colon of `word:NAME`, the place of a function of NAME that gives the object.
    """

    def __init__(
        self,
        kind: str,
        key: str,
        builtin: Mapping[str, str],
        arguments: Sequence[str] = (),
        keywords: Sequence[str] = (),
        families: Mapping[str, str] | None = None,
    ) -> None:
        self.group = f"modnas_fast.{kind}"
        self.key = key
        self.builtin = dict(builtin)
        self._arguments = tuple(arguments)
        self._keywords = tuple(keywords)
        self._families = dict(families or {})
        self._registered: dict[str, Any] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.builtin)

    def __len__(self) -> int:
        return len(self.builtin)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin

    def __getitem__(self, name: str) -> Any:
        return self.find(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names known here: built in, registered, of other distributions' entry points."""
        return tuple(dict.fromkeys([*self.builtin, *self._registered, *(point.name for point in self._entry_points)]))

    def register(self, name: str, found: Any) -> None:
        """Lets the configurations of this process name an object. InputError for a built-in name, or one with a colon.

        Other processes, such as one that continues a run, know the name only where they register it too.
        """
        if name in self.builtin or ":" in name:
            raise InputError(f"{self.key}: {name!r} cannot be registered: it is built in, or holds a colon")
        self._registered[name] = found

    def check(self, name: str) -> str:
        """The name itself, where it is known, or a place. Imports nothing; InputError for any other name."""
        if name in self.builtin or name in self._registered or PLACE.fullmatch(name) or name in self.names:
            return name
        known = self.names
        hint = did_you_mean(name, known).rstrip()
        raise InputError(
            f"{self.key}: wanted {', '.join(map(repr, known))} or package.module:object, got {name!r}"
            + (f"; {hint}" if hint else "")
        )

    def find(self, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """What a name stands for, with `options` bound to it as keyword arguments.

        Raises InputError for an unknown name, a module that cannot be imported, and an object of a user's that cannot
        be called with what this kind is called with.
        """
        found = self.load(name)
        if name not in self.builtin:
            self._check_call(name, found, options or {})
        return partial(found, **options) if options else found

    def fault(self, name: str, what: str) -> InputError:
        """What is wrong with an object of a user's, for a caller to raise."""
        return InputError(f"{self.key}: {name!r} {what}")

    @property
    def _entry_points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=self.group))

    def _place(self, name: str) -> str:
        """The `module:object` that a name stands for. Entry points are looked up last: that takes 20 ms."""
        if name in self.builtin:
            return self.builtin[name]
        return name if PLACE.fullmatch(name) else next(p.value for p in self._entry_points if p.name == name)

    def load(self, name: str) -> Any:
        """What a name stands for, whatever it is. InputError for an unknown name, and where it cannot be imported."""
        self.check(name)
        family, _, member = name.partition(":")
        if family in self._families:
            return EntryPoint(family, self._families[family], self.group).load()(member)
        if name in self._registered:
            return self._registered[name]
        point = EntryPoint(name, self._place(name), self.group)
        if name in self.builtin:
            return point.load()
        try:
            return point.load()
        except ModuleNotFoundError as error:
            raise self.fault(
                name, f"cannot be imported: {error}; install it, or set PYTHONPATH to where it is"
            ) from error
        except Exception as error:  # whatever somebody's module does
            raise self.fault(name, f"cannot be loaded: {one_line(error)}") from error

    def _check_call(self, name: str, found: Any, options: Mapping[str, Any]) -> None:
        called = ", ".join([*self._arguments, *(f"{word}=" for word in (*self._keywords, *options))])
        if not callable(found):
            raise self.fault(name, f"is a {type(found).__name__}; wanted a function or class, called with ({called})")
        try:
            signature = _signature(found)
            if signature is not None:
                signature.bind(*self._arguments, **{**dict.fromkeys(self._keywords), **options})
        except TypeError as error:
            raise self.fault(name, f"cannot be called with ({called}): {error}") from None


def _signature(found: Callable[..., Any]) -> inspect.Signature | None:
    """None for what was compiled without one."""
    try:
        return inspect.signature(found)
    except ValueError:
        return None
