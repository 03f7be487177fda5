"""What a module does with an example by torch.export, for code that torch.fx cannot follow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from modnas_fast.spaces.module.tracing import Call, Program, is_leaf


def exported(model: nn.Module, example: Tensor) -> Program:
    """The pass of a model in evaluation, in which layers of torch are whole again.

    Lengths in shapes are those of the example: whether code computed them is not known. Raises what torch.export does.
    """
    program = torch.export.export(model, (example,), strict=False)
    return _Rebuilt(model, program).program


class _Rebuilt:
    """An exported program with a node for each call of a layer in place of the layer's operations."""

    def __init__(self, model: nn.Module, exported: torch.export.ExportedProgram) -> None:
        self.model, self.signature = model, exported.graph_signature
        self.graph = fx.Graph()
        self.program = Program([], {}, {}, [])
        self.new: dict[fx.Node, fx.Node] = {}
        nodes = list(exported.graph.nodes)
        self.leaves = {node: leaf for node in nodes if (leaf := self._leaf(node)) is not None}
        last = {leaf: node for node, leaf in self.leaves.items()}
        for node in nodes:
            if node.op == "output":
                self.graph.output(self.new[node.args[0][0]])
            elif (leaf := self.leaves.get(node)) is None:
                self.new[node] = self._copied(node)
            elif last[leaf] is node:
                self.new[node] = self._called(leaf, node)
        # weights of layers are no values of their own any more
        self.program.nodes.extend(n for n in self.graph.nodes if n.users or n.op != "get_attr")
        self._find_calls(nodes)

    def _leaf(self, node: fx.Node) -> tuple[str, str] | None:
        """The call of a layer of torch that a node belongs to, and the layer's path."""
        for call, (path, _) in node.meta.get("nn_module_stack", {}).items():
            if path and is_leaf(self.model.get_submodule(path)):
                return call, path
        return None

    def _copied(self, node: fx.Node) -> fx.Node:
        value: Any = node.meta.get("val")
        place = next(reversed([path for path, _ in node.meta.get("nn_module_stack", {}).values()]), "")
        if node.op == "placeholder":
            parameter = self.signature.inputs_to_parameters.get(node.name)
            value = value if parameter is None else self.model.get_parameter(parameter)
            name = parameter or self.signature.inputs_to_buffers.get(node.name)
            made = self.graph.placeholder(node.name) if name is None else self.graph.get_attr(f"model.{name}")
        else:
            args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self.new.__getitem__)
            made = self.graph.create_node("call_function", node.target, args, kwargs)
        self.program.values[made], self.program.places[made] = value, place
        return made

    def _called(self, leaf: tuple[str, str], node: fx.Node) -> fx.Node:
        """A call of a layer, which takes what its operations take from elsewhere."""
        inside = [n for n, of in self.leaves.items() if of == leaf]
        taken = list(dict.fromkeys(t for n in inside for t in n.all_input_nodes if t not in inside))
        taken = [t for t in taken if t.op != "placeholder" or t.name in self.signature.user_inputs]
        several = isinstance(self.model.get_submodule(leaf[1]), nn.MultiheadAttention)
        args = tuple(self.new[t] for t in (taken * 3 if several and len(taken) == 1 else taken))
        made = self.graph.call_module(leaf[1], args)
        value = node.meta["val"]
        self.program.values[made], self.program.places[made] = (value, None) if several else value, leaf[1]
        if several:
            made = self.graph.call_function(_first_of, (made, 0))
            self.program.values[made], self.program.places[made] = value, leaf[1]
        return made

    def _find_calls(self, nodes: list[fx.Node]) -> None:
        """Passes through modules that take one value and give one."""
        members: dict[tuple[str, str], list[fx.Node]] = {}
        for node in nodes:
            for call, (path, _) in node.meta.get("nn_module_stack", {}).items():
                members.setdefault((call, path), []).append(node)
        for (_, path), inside in members.items():
            within = set(inside)
            taken = {t for n in inside for t in n.all_input_nodes if t not in within and t in self.new}
            taken = {t for t in taken if self.new[t].op != "get_attr"}
            given = {n for n in inside if any(user not in within for user in n.users) and n in self.new}
            if len(taken) == len(given) == 1:
                self.program.calls.append(Call(path, self.new[taken.pop()], self.new[given.pop()], ()))


def _first_of(values: Any, index: int) -> Any:
    return values[index]


_first_of.__name__ = "getitem"
