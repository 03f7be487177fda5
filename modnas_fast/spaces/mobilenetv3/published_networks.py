"""The 34 networks that Once-for-All published, each searched for one device: facts of their configurations."""

from __future__ import annotations

from typing import NamedTuple

from modnas_fast.spaces.mobilenetv3.scales import Scale

#: places for a block in a stage
LAYERS = 4


class PublishedNetwork(NamedTuple):
    """A network as Once-for-All fine-tuned and measured it.

    >>> NETWORKS[0].architecture
    'r224_k3.3-5.5.3-5.5.3-5.5.3.3-3.3.7.3_e3.3-3.6.3-4.4.3-6.4.4.4-6.6.6.3'
    """

    #: whose latency it was searched for; `flops` for that number itself
    device: str
    cost: int
    unit: str
    #: accuracy on ImageNet in percent, after 75 epochs, or 25 where it is less than 76.9
    top1: float
    width: float
    resolution: int
    #: a digit per place for a block, four in each of five stages, 0 where there is none
    kernels: str
    expansions: str
    #: blocks of each stage
    depths: str

    @property
    def architecture(self) -> str:
        """Its string in a space that has its choices."""
        kernels, expansions = (
            "-".join(".".join(digits[LAYERS * stage :][: int(depth)]) for stage, depth in enumerate(self.depths))
            for digits in (self.kernels, self.expansions)
        )
        return f"r{self.resolution}_k{kernels}_e{expansions}"

    @property
    def words(self) -> str:
        """What it is, for lists."""
        return f"{self.device}, {self.cost} {self.unit}, top-1 {self.top1:g} %, width {self.width:g}"

    def fits(self, scale: Scale) -> bool:
        """Whether it is one of the networks of Once-for-All's choices at this width and these resolutions."""
        return self.width == scale.width and self.resolution in scale.resolutions


NETWORKS = (
    PublishedNetwork("flops", 389, "MFLOPs", 79.1, 1.2, 224, "33005530553055333373", "33003630443064446663", "23344"),
    PublishedNetwork("flops", 482, "MFLOPs", 79.6, 1.2, 224, "53305353553357357333", "33304443463366646663", "34444"),
    PublishedNetwork("flops", 595, "MFLOPs", 80.0, 1.2, 236, "35305535753535733353", "34304463663466646663", "34444"),
    PublishedNetwork("LG-G8", 8, "ms", 71.1, 1.0, 144, "33005500533037003700", "33004300333064006400", "22322"),
    PublishedNetwork("LG-G8", 11, "ms", 73.0, 1.0, 156, "33005370530053505750", "33003440430044306640", "23233"),
    PublishedNetwork("LG-G8", 16, "ms", 74.7, 1.0, 176, "33007530555037505733", "33004330643044306664", "23334"),
    PublishedNetwork("LG-G8", 24, "ms", 76.4, 1.0, 220, "33007530555037505733", "33004330643044306664", "23334"),
    PublishedNetwork("note10", 8, "ms", 71.4, 1.0, 160, "33003300333033003500", "33003400433034004400", "22322"),
    PublishedNetwork("note10", 11, "ms", 73.6, 1.0, 176, "33005300530033303550", "33004400440043304440", "22233"),
    PublishedNetwork("note10", 16, "ms", 75.5, 1.0, 192, "33005533553055303753", "33003443443044306443", "24334"),
    PublishedNetwork("note10", 22, "ms", 76.6, 1.0, 224, "33005330755053303333", "33003440444046406663", "23334"),
    PublishedNetwork("note10", 30, "ms", 78.4, 1.2, 224, "33005330553033303333", "33004340443064406643", "23334"),
    PublishedNetwork("note10", 41, "ms", 79.3, 1.2, 220, "33007330733335333333", "34004460663466646663", "23444"),
    PublishedNetwork("note10", 50, "ms", 79.7, 1.2, 220, "53305335773575333330", "36604663664466666660", "34443"),
    PublishedNetwork("note10", 64, "ms", 80.2, 1.2, 260, "33305335553753333353", "36304633664466646663", "34444"),
    PublishedNetwork("note8", 22, "ms", 70.4, 1.0, 140, "33005500730053003700", "33003300430034006600", "22222"),
    PublishedNetwork("note8", 31, "ms", 72.8, 1.0, 152, "53005500335035703355", "33004300444043406333", "22334"),
    PublishedNetwork("note8", 49, "ms", 74.9, 1.0, 176, "53005370773033303535", "34004440434046406664", "23334"),
    PublishedNetwork("note8", 65, "ms", 76.1, 1.0, 204, "73003530733053305553", "33004430664066406443", "23334"),
    PublishedNetwork("pixel1", 20, "ms", 71.4, 1.0, 152, "33005500730053003700", "33003300430034006600", "22222"),
    PublishedNetwork("pixel1", 28, "ms", 73.3, 1.0, 160, "33007330730035003333", "34003640360064006436", "23224"),
    PublishedNetwork("pixel1", 40, "ms", 74.9, 1.0, 172, "53005370773033303535", "34004440434046406664", "23334"),
    PublishedNetwork("pixel1", 58, "ms", 76.9, 1.0, 220, "33007530555037505733", "33004330643044306664", "23334"),
    PublishedNetwork("pixel1", 79, "ms", 78.7, 1.2, 224, "33005300753053333333", "33003400443064436663", "22344"),
    PublishedNetwork("pixel1", 132, "ms", 79.8, 1.2, 228, "53005535753555553353", "36004663666466646663", "24444"),
    PublishedNetwork("pixel1", 143, "ms", 80.1, 1.2, 240, "53305535753353533353", "36306663666466646663", "34444"),
    PublishedNetwork("pixel2", 25, "ms", 71.5, 1.0, 144, "33005500730077305300", "33006400430043406400", "22232"),
    PublishedNetwork("pixel2", 35, "ms", 73.4, 1.0, 160, "33003330770053377775", "33003460440043334633", "23244"),
    PublishedNetwork("pixel2", 50, "ms", 74.7, 1.0, 208, "33003300350057003575", "34003300360064006343", "22224"),
    PublishedNetwork("pixel2", 62, "ms", 75.8, 1.0, 208, "33007530555037505733", "33004330643044306664", "23334"),
    PublishedNetwork("s7edge", 29, "ms", 70.5, 1.0, 144, "33005300530055003500", "33003400440044006300", "22222"),
    PublishedNetwork("s7edge", 41, "ms", 73.1, 1.0, 160, "33005300750033303533", "33003400440044306433", "22234"),
    PublishedNetwork("s7edge", 58, "ms", 74.7, 1.0, 192, "33005300753333303550", "33003400434344306440", "22433"),
    PublishedNetwork("s7edge", 88, "ms", 76.3, 1.0, 192, "53005330755055353733", "34006640463066446664", "23344"),
)
