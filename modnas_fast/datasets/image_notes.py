"""Words and counts for everything that is done to images on the way in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from modnas_fast.datasets.header import Deep, Header
from modnas_fast.datasets.pixels import BLACK, Seen, Target

BIT_DEPTHS = (8, 10, 12, 14, 16)


def fit_notes(
    headers: Sequence[Header], sizes: Counter[tuple[int, int]], target: Target, *, by_default: bool
) -> list[str]:
    """Notes on size, orientation, frames and colours. `sizes` counts the images of each size."""
    total = len(headers)
    notes = []
    if differing := total - sizes[target.size]:
        notes.append(f"{differing} of {total} images resized{_sizes(sizes, target, by_default)}")
    for count, words in (
        (sum(h.turned for h in headers), "turned upright as their EXIF orientation says"),
        (sum(h.frames for h in headers), "have several frames or pages; the first is used"),
        (sum(h.cut for h in headers), "have 16 bits per colour channel, of which Pillow keeps the upper 8"),
        *(
            (sum(h.other_colours == mode for h in headers), f"converted from {mode} to RGB")
            for mode in sorted({h.other_colours for h in headers if h.other_colours})
        ),
    ):
        if count:
            notes.append(f"{count} of {total} images {words}")
    if target.colour and (grey := sum(not h.colour for h in headers)):
        notes.append(f"{grey} of {total} images converted from grey to RGB")
    return notes


def _sizes(sizes: Counter[tuple[int, int]], target: Target, by_default: bool) -> str:
    """to 8×8, or for a size that nobody asked for: from where, and how that is changed."""
    common = sizes.most_common(1)[0][0]
    new = f" to {_times(target.size)}"
    if not by_default or common == target.size:
        return new
    more = f" and {len(sizes) - 1} other sizes" if len(sizes) > 1 else ""
    return f" from {_times(common)}{more}{new}, the largest by default; --set task.resize=128 changes that"


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"


def range_notes(headers: Sequence[Header]) -> tuple[tuple[float, float], tuple[float, float], list[str]]:
    """The ranges of whole numbers and of floats that become 0 to 255, one for all images, and notes on them."""
    deep = [header.deep for header in headers if header.deep]
    ranges, notes = [], []
    for kind, values, find in (
        ("16-bit or 32-bit whole numbers", [d for d in deep if not d.is_float], _integer_range),
        ("floating-point numbers", [d for d in deep if d.is_float], _float_range),
    ):
        limits, words = find(values) if values else ((0.0, 1.0), "")
        ranges.append(limits)
        if values:
            notes.append(
                f"{len(values)} of {len(headers)} images of {kind} scaled to 8 bits: {limits[0]:g} to {limits[1]:g} "
                f"become 0 to 255 ({words})"
            )
    return ranges[0], ranges[1], notes


def _integer_range(values: Sequence[Deep]) -> tuple[tuple[float, float], str]:
    low, high = min(d.low for d in values), max(d.high for d in values)
    if low < 0 or high >= 1 << BIT_DEPTHS[-1]:
        return (min(low, 0.0), high), "the smallest and largest value of all images"
    if stated := [d.stated for d in values if d.stated]:
        return (0.0, float(max(stated))), "the range that the files state"
    bits = next(bits for bits in BIT_DEPTHS if high < 1 << bits)
    return (0.0, float((1 << bits) - 1)), f"{bits} bits, the fewest that hold the largest value of all images, {high:g}"


def _float_range(values: Sequence[Deep]) -> tuple[tuple[float, float], str]:
    low, high = min(d.low for d in values), max(d.high for d in values)
    for top in (1.0, 255.0):
        if low >= 0 and high <= top:
            return (0.0, top), f"all values lie between {low:g} and {high:g}"
    return (low, high), "the smallest and largest value of all images"


def seen_notes(seen: Sequence[Seen], target: Target) -> list[str]:
    """Notes on what showed only in the pixels."""
    transparent, blank = sum(one.transparent for one in seen), sum(one.blank for one in seen)
    if not transparent:
        return []
    ground = "black, on which more of them show than on white" if target.background == BLACK else "white"
    nothing = f"; {blank} of them show nothing on it" if blank else ""
    return [f"{transparent} of {len(seen)} images with transparency composed on {ground}{nothing}"]
