"""Machine code of Triton kernels for GPUs that are not here, and what it takes of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import subprocess
import tempfile
from typing import Any

import torch
from torch import Tensor


def _spilled() -> int:
    """Bytes per thread that may go to local memory: none, but Triton 3.5 to 3.8 sometimes spills 16."""
    found = importlib.metadata.version("triton") if importlib.util.find_spec("triton") else "0.0"
    return 0 if tuple(map(int, found.split(".")[:2])) >= (3, 9) else 32


SPILLED = _spilled()
TYPES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.uint8: "u8",
    torch.bool: "i1",
}


class Compiled:
    """In place of a kernel: compiles what would be launched for a generation of GPUs."""

    def __init__(self, kernel: Any, capability: int) -> None:
        self.kernel, self.capability = kernel, capability
        self.found: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self.compile

    def compile(self, *arguments: Any, num_warps: int = 4, num_stages: int = 3, **constants: Any) -> None:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        signature = dict.fromkeys(constants, "constexpr")
        attributes = {}
        for index, (parameter, value) in enumerate(zip(self.kernel.params, arguments, strict=False)):
            if isinstance(value, Tensor):
                signature[parameter.name], divisible = f"*{TYPES[value.dtype]}", value.data_ptr() % 16 == 0
            elif parameter.is_constexpr or (value == 1 and not parameter.do_not_specialize):
                signature[parameter.name], constants[parameter.name], divisible = "constexpr", value, False
            else:
                signature[parameter.name] = parameter.annotation_type or ("i32" if value < 2**31 else "i64")
                divisible = value % 16 == 0 and not parameter.do_not_specialize
            if divisible:
                attributes[(index,)] = [["tt.divisibility", 16]]
        ordered = {name: signature[name] for name in self.kernel.arg_names}
        source = ASTSource(self.kernel, ordered, constexprs=constants, attrs=attributes)
        options = {"num_warps": num_warps, "num_stages": num_stages}
        self.found.append(triton.compile(source, target=GPUTarget("cuda", self.capability, 32), options=options))


def resources(compiled: Any) -> dict[str, int]:
    """REG, STACK and so on of one kernel: what spills registers has a stack."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED):(\d+)", text)}
