"""entangled_linear against plain masked PyTorch, a loop of F.linear on slices and the reference, on the same inputs.

Sizes are those of transformer search spaces: R = 64 sequences of 32 tokens per device, layers of 192 to 1280 numbers,
widths drawn evenly from the multiples of 64 up to the layer's. Contenders take turns in one process; a time is a
median, a ratio is one of medians, above 1 where ours is faster. Refuses to run where an answer of ours is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from modnas_fast.bench.runner import Parser, medians, ratios, run, shown, torch_device, write_results
from modnas_fast.runtime import implementations
from modnas_fast.runtime.errors import InputError
from modnas_fast.supernets.entangled_linear import entangled_linear, needed_work

ROWS = 64 * 32
LAYERS = ((192, 768), (640, 640), (768, 192), (1280, 1280))
STEP = 64  # of widths


class Problem(NamedTuple):
    """One layer for T devices."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    inputs: Tensor
    outputs: Tensor
    dy: Tensor

    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.x, self.weight, self.bias


def problem(
    count: int, layer: tuple[int, int], shared: bool, dtype: torch.dtype, device: str, rows: int = ROWS
) -> Problem:
    """Random numbers and widths, the same ones each time."""
    generator = torch.Generator().manual_seed(count)
    k, n = layer
    shapes = ((1 if shared else count, rows, k), (n, k), (n,), (count, rows, n))
    x, weight, bias, dy = (torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes)
    inputs, outputs = (
        (STEP * torch.randint(1, size // STEP + 1, (count,), generator=generator)).to(device) for size in layer
    )
    return Problem(*(leaf.requires_grad_() for leaf in (x, weight, bias)), inputs, outputs, dy)


def ours(p: Problem) -> Tensor:
    return entangled_linear(*p.leaves(), inputs=p.inputs, outputs=p.outputs)


def reference(p: Problem) -> Tensor:
    with implementations.using("reference"):
        return ours(p)


def masked(x: Tensor, weight: Tensor, bias: Tensor, m_in: Tensor, m_out: Tensor) -> Tensor:
    """What one writes first: whole products of masked tensors. NaN in unused parts would leak."""
    return F.linear(x * m_in[:, None], weight, bias) * m_out[:, None]


def masks(p: Problem) -> tuple[Tensor, Tensor]:
    places = (torch.arange(size, device=p.x.device) for size in reversed(p.weight.shape))
    return tuple((a < w[:, None]).to(p.x) for a, w in zip(places, (p.inputs, p.outputs), strict=True))


def looped(p: Problem, widths: list[tuple[int, int]]) -> Tensor:
    """One F.linear on slices per device, as the supernets of OFA and HAT do, padded to one tensor."""
    size = len(p.weight)
    parts = [
        F.pad(F.linear(p.x[t % len(p.x), :, :k], p.weight[:n, :k], p.bias[:n]), (0, size - n))
        for t, (k, n) in enumerate(widths)
    ]
    return torch.stack(parts)


def contenders(p: Problem, with_reference: bool) -> dict[str, Callable[[], Tensor]]:
    found = {
        "ours": partial(ours, p),
        "masked": partial(masked, *p.leaves(), *masks(p)),
        "loop": partial(looped, p, list(zip(p.inputs.tolist(), p.outputs.tolist(), strict=True))),
    }
    if with_reference:
        found["reference"] = partial(reference, p)
    if p.x.is_cuda:
        found["torch.compile"] = partial(torch.compile(masked), *p.leaves(), *masks(p))
    return found


def step(p: Problem, forward: Callable[[], Tensor]) -> list[Tensor]:
    """The layer and all gradients."""
    y = forward()
    return [y.detach(), *torch.autograd.grad(y, p.leaves(), p.dy)]


def check(device: str, dtype: torch.dtype) -> None:
    """Raises RuntimeError where an answer is wrong: then no time is worth printing."""
    for shared in (False, True):
        p = problem(5, (192, 320), shared, dtype, device, rows=70)
        wide = Problem(*(t.detach().double() if t.is_floating_point() else t for t in p))
        for leaf in wide.leaves():
            leaf.requires_grad_()
        truth = step(wide, contenders(wide, False)["loop"])
        for name, found, true in zip(("y", "dx", "dw", "db"), step(p, partial(ours, p)), truth, strict=True):
            error = float((found.double() - true).abs().max() / true.abs().max())
            if error > 8 * torch.finfo(dtype).eps:
                raise RuntimeError(f"entangled_linear: {name} is off by {error:.1e}; run the tests first")


def measure(p: Problem, rounds: int, with_reference: bool) -> dict[str, Any]:
    """Seconds of a forward pass without gradients and of a whole step."""
    forwards = contenders(p, with_reference)

    def inference(run: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            run()

    shared = len(p.x) < len(p.inputs)
    works = needed_work(p.x.shape[1], p.inputs.tolist(), p.outputs.tolist(), p.x.element_size(), shared)
    row: dict[str, Any] = {"T": len(p.inputs), "K": p.x.shape[2], "N": len(p.weight), "shared": shared}
    for name, kind, work in (("forward", inference, works[0]), ("step", partial(step, p), works[0] + works[1])):
        seconds = medians({key: partial(kind, run) for key, run in forwards.items()}, rounds, where=p.x.device.type)
        flops, moved = sum(work[::2]), sum(work[1::2])
        row[name] = {
            "seconds": seconds,
            "ratio": ratios(seconds),
            "needed_flops_per_second": flops / seconds["ours"],
            "needed_bytes_per_second": moved / seconds["ours"],
        }
    return row


def report(row: dict[str, Any]) -> None:
    kind = "shared x" if row["shared"] else "own x"
    print(f"\nT = {row['T']}, K = {row['K']}, N = {row['N']}, {kind}")
    for name in ("forward", "step"):
        part = row[name]
        others = ", ".join(f"{key} {ratio:.2f} x" for key, ratio in part["ratio"].items())
        print(f"  {name}: {shown(part['seconds']['ours'])}, "
              f"{part['needed_flops_per_second'] / 1e9:.0f} needed GFLOP/s; {others}")  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Checks, measures, prints."""
    parser = Parser("entangled_linear", __doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, T = 1 and 13, small layers")
    parser.add_argument("--device", type=torch_device, default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    options = parser.parse_args(arguments)
    serving = implementations.chosen("entangled_linear", options.device)
    if serving.name == "reference":
        raise InputError(f"bench entangled_linear: nothing but the reference on {options.device}: {serving.reason}")
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    check(options.device, dtype)
    results = []
    for count in (1, 13) if options.quick else (1, 13, 32):
        for layer in LAYERS[:2] if options.quick else LAYERS:
            for shared in (False, True) if count > 1 else (False,):
                p = problem(count, layer, shared, dtype, options.device)
                results.append(measure(p, 3 if options.quick else 9, with_reference=count < 32))
                report(results[-1])
    if options.json:
        facts = {"rows": ROWS, "dtype": options.dtype, "implementation": serving.name}
        write_results(options.json, "entangled_linear", results, **facts)


if __name__ == "__main__":
    run(main)
