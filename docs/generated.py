"""Directives for what is generated from the package: public names, the configuration, the command line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

import typer
import yaml
from docutils import nodes
from pydantic import BaseModel
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

#: packages with a page of their own: elsewhere their names are links
PACKAGES = ("baselines", "datasets", "devices", "mgd", "report", "spaces", "supernets", "tasks")
STYLE = Config(napoleon_use_rtype=False)


class Generated(SphinxDirective):
    """A directive whose one argument leads to what its lines of Markdown are made from."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        found = import_module(module)
        text = "\n".join(self.lines(getattr(found, name) if name else found))
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    def lines(self, found: Any) -> Iterator[str]:
        raise NotImplementedError


class PublicNames(Generated):
    """Everything in the `__all__` of a module."""

    def lines(self, found: Any) -> Iterator[str]:
        package = found.__name__
        yield from ("```{eval-rst}", f".. automodule:: {package}", "   :no-members:", "")
        for name in found.__all__:
            value = getattr(found, name)
            home = home_of(value)
            if home is not None and not package.startswith(home):
                said = (inspect.getdoc(value) or "").split("\n")[0]
                yield from (f":py:obj:`{package}.{name} <{home}.{name}>`: {said}", "")
            elif inspect.isclass(value):
                yield from (f".. autoclass:: {package}.{name}", "   :members:", "")
            elif inspect.isroutine(value):
                yield from (f".. autofunction:: {package}.{name}", "")
            else:
                texts = value.__doc__.splitlines() if inspect.ismodule(value) else comments_on(package, name, value)
                yield from (f".. py:data:: {package}.{name}", "", *(f"   {line}" for line in texts), "")
        yield "```"


def home_of(value: Any) -> str | None:
    """The package with a page that a class or function comes from."""
    room = (getattr(value, "__module__", None) or "").split(".")[:2]
    return ".".join(room) if room[-1] in PACKAGES else None


def comments_on(package: str, name: str, value: Any) -> list[str]:
    """The `#:` comment of a constant, from the module of the package that defines it."""
    for module in [package, *sorted(name for name in sys.modules if name.startswith(f"{package}."))]:
        if getattr(sys.modules[module], name, None) is value:
            texts = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", name) in texts:
                return texts["", name]
    return []


class Configuration(Generated):
    """A tree of pydantic models, from what makes it: each section with the text, type and default of every key."""

    def lines(self, found: Any) -> Iterator[str]:
        found = found()
        schema = found.model_json_schema()
        sections = {name: field.annotation for name, field in found.model_fields.items() if is_model(field.annotation)}
        yield from keys("", found, schema["properties"], without=sections)
        for name, model in sections.items():
            yield from (f"## {name}", "", inspect.getdoc(model) or "", "")
            yield from keys(f"{name}.", model, schema["$defs"][model.__name__]["properties"])
            for key, field in model.model_fields.items():
                for part in filter(is_model, get_args(field.annotation)):
                    yield from keys(f"{name}.{key}[].", part, schema["$defs"][part.__name__]["properties"])


def is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def keys(prefix: str, model: type[BaseModel], properties: dict[str, Any], without: Any = ()) -> Iterator[str]:
    """A definition of each key of a section: what it means, and what it may be."""
    texts = attribute_docs(model)
    for name, field in model.model_fields.items():
        if name not in without:
            meaning = " ".join([*texts.get(name, ()), f"*{in_words(properties[name])}*"])
            yield from (
                f"`{prefix}{name}`: `{shown(field.get_default(call_default_factory=True))}`",
                f": {meaning}",
                "",
            )


def attribute_docs(model: type[BaseModel]) -> dict[str, list[str]]:
    """The docstrings below the fields of a model, and of those that it inherits from."""
    texts: dict[str, list[str]] = {}
    for owner in reversed(model.__mro__):
        if owner.__module__.startswith("modnas_fast"):
            found = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
            texts |= {name: lines for (name_of, name), lines in found.items() if name_of == owner.__name__}
    return texts


def shown(value: Any) -> str:
    """A default as it stands in a YAML file."""
    return yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True).split("\n")[0]


def in_words(schema: dict[str, Any]) -> str:
    """What a JSON schema allows."""
    match schema:
        case {"$ref": _}:
            return "mapping of the keys below"
        case {"anyOf": choices}:
            return " or ".join(in_words(choice) for choice in choices)
        case {"enum": words}:
            return " or ".join(words)
        case {"const": word}:
            return str(word)
        case {"prefixItems": items}:
            return f"list of {len(items)}, each a {in_words(items[0])}"
        case {"type": "array", "items": item}:
            return f"list, each a {in_words(item)}"
        case {"type": "integer" | "number" as kind_of}:
            return ("whole number" if kind_of == "integer" else "number") + bounds(schema)
    plain = {"string": "text", "boolean": "true or false", "null": "null", "object": "keys with values"}
    return plain[schema["type"]]


def bounds(schema: dict[str, Any]) -> str:
    """The range of a number, in words."""
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    said = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" {' and '.join(said)}" if said else ""


class Presets(Generated):
    """A dictionary of changes to the configuration by the name of a preset, as YAML."""

    def lines(self, found: Any) -> Iterator[str]:
        for name, changes in found.items():
            yield from (f"### {name}", "", "```yaml", yaml.safe_dump(changes, sort_keys=False).rstrip(), "```", "")


class CommandLine(Generated):
    """What `--help` prints, of a Typer application and every command in it."""

    def lines(self, found: Any) -> Iterator[str]:
        command = typer.main.get_command(found)
        yield from help_of(command, command.name or "", None)


def help_of(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent, terminal_width=88)
    yield from (f"## {context.command_path}", "", "```text", command.get_help(context), "```", "")
    for part, below in getattr(command, "commands", {}).items():
        yield from help_of(below, part, context)


def google_style(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turns the sections of docstrings into fields; the colon in the comment of an attribute names no type."""
    if what not in ("attribute", "data"):
        what = "method" if what == "property" else what
        lines[:] = GoogleDocstring(lines, STYLE, app, what, name, value, options).lines()


def without_factory(app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str, result: str) -> Any:
    """The signature of a dataclass, in which the mark of a default that is made anew is no Python."""
    return signature and signature.replace("<factory>", "..."), result


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("public-names", PublicNames)
    app.add_directive("configuration", Configuration)
    app.add_directive("presets", Presets)
    app.add_directive("command-line", CommandLine)
    app.connect("autodoc-process-docstring", google_style)
    app.connect("autodoc-process-signature", without_factory)
    return {"parallel_read_safe": True}
