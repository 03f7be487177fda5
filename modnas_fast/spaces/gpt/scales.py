"""The scales of the GPT space: which widths, depths, MLP ratios and heads its networks may have."""

from __future__ import annotations

from dataclasses import dataclass

from modnas_fast.runtime.errors import InputError


@dataclass(frozen=True)
class Scale:
    """The options of every choice, each rising, so that networks are prefixes of the largest."""

    #: e, channels of the embedding
    widths: tuple[int, ...]
    #: ℓ, layers
    depths: tuple[int, ...]
    #: hidden channels of a layer's MLP, as multiples of e
    ratios: tuple[int, ...]
    #: attention heads of a layer
    heads: tuple[int, ...]
    #: d_h, channels of a head, whatever e is
    head_size: int
    #: option indices of ten networks that HW-GPT-Bench measured, see `spaces.gpt.references`
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("widths", "depths", "ratios", "heads"):
            options = getattr(self, name)
            if not options or list(options) != sorted(set(options)) or options[0] < 1:
                raise InputError(f"space.{name}: wanted rising whole numbers from 1 on, got {list(options)}")
        if self.head_size < 4 or self.head_size % 4:
            raise InputError(f"space.head_size: wanted a multiple of 4, half of it is rotated, got {self.head_size}")

    @property
    def layers(self) -> int:
        """L, layers of the deepest network."""
        return self.depths[-1]


#: s, m and l are those of HW-GPT-Bench; small is for a CPU
SCALES = {
    "small": Scale((32, 64, 96), (2, 3, 4), (2, 3, 4), (2, 4, 6), 16),
    "s": Scale(
        (192, 384, 768),
        (10, 11, 12),
        (2, 3, 4),
        (4, 8, 12),
        64,
        references=(
            "002101100000001000002101001",
            "222112220111122221221221110",
            "200002100000000002102000001",
            "020021001020000101001110001",
            "200021112222001100100100000",
            "200100111100002222122211001",
            "112102021021002111021110100",
            "121100121012200000001010011",
            "121211101010221010220220020",
            "210012012112201202020120001",
        ),
    ),
    "m": Scale((256, 512, 1024), (22, 23, 24), (2, 3, 4), (8, 12, 16), 64),
    "l": Scale(
        (320, 640, 1280),
        (34, 35, 36),
        (2, 3, 4),
        (8, 16, 20),
        64,
        references=(
            "001010110001002100001211000112021102000101000002212010110000220102100210001",
            "221211202122111220212201010221012121100110221021222012022202222222222002110",
            "200010020221100000120001101101120220000111020011010111002010012011110100001",
            "020102120000220010100000022110221010201000202002200000100101210111010210011",
            "200202210021021202222121121212210212002201220010102000000210200010002120000",
            "202202011000100001110020220100121220002111122202222122121121022112200022001",
            "111122001112101201000201022121122101101221121012021112110011122220122220000",
            "122100112101012220221220222201212220200010112202000200101000101011102100011",
            "120201002012021000211220121001212012220121210002010022021000101012021221110",
            "210021212201110211221211110200011101200110202100021122100002211011002111001",
        ),
    ),
}
#: those of which HW-GPT-Bench measured 10,000 networks
PUBLISHED_SCALES = ("s", "m", "l")
