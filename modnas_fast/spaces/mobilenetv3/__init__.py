"""The MobileNetV3 space of Once-for-All: image networks of elastic kernels, expansions, depths and resolution."""

from typing import TYPE_CHECKING

from modnas_fast.runtime.lazy import names_from

if TYPE_CHECKING:
    from modnas_fast.spaces.mobilenetv3.space import MobileNetV3Space

__all__ = ["MobileNetV3Space"]

__getattr__ = names_from(__name__, {"MobileNetV3Space": "modnas_fast.spaces.mobilenetv3.space"})
