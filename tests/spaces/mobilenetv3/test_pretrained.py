"""Official checkpoints: both spellings, other classes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from spaces.mobilenetv3.test_network import CLASSES, SPACE, images, published_network, randomise, seeded
from torch import Tensor

from modnas_fast.runtime.errors import InputError
from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from modnas_fast.spaces.mobilenetv3.weights import plain_name


def official() -> dict[str, Tensor]:
    return randomise(MobileNetV3Supernet(SPACE, CLASSES)).float().state_dict()


def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As older files spell it."""
    found = {}
    for key, tensor in state.items():
        key = key.replace(".conv.", ".mobile_inverted_conv.", 1) if key.startswith("blocks.") else key
        key = key.replace("classifier.linear.", "classifier.linear.linear.")
        found[key] = tensor
        if key.endswith("running_var"):
            found[key.replace("running_var", "num_batches_tracked")] = torch.tensor(7)
    return found


def test_a_checkpoint_gives_the_published_outputs_in_either_spelling(tmp_path: Path) -> None:
    state = official()
    torch.save({"state_dict": state, "epoch": 180}, tmp_path / "new.pth")
    torch.save(older(state), tmp_path / "old.pth")
    save_file(state, tmp_path / "plain.safetensors")
    for name in ("new.pth", "old.pth", "plain.safetensors"):
        supernet = SPACE.supernet(classes=CLASSES, checkpoint=str(tmp_path / name))
        assert supernet.notes == ()
        onehot = SPACE.sample(1, seeded(3)).double()
        found = supernet.double().predict(images(), onehot)
        weights = {key: tensor.double() for key, tensor in state.items()}
        for architecture, logits in zip(SPACE.decode(onehot), found):
            wanted = published_network(weights, SPACE.shape(architecture.indices), images())
            torch.testing.assert_close(logits, wanted, atol=1e-10, rtol=1e-10)


def test_other_classes_begin_with_a_classifier_of_their_own_and_say_so(tmp_path: Path) -> None:
    state = official()
    torch.save(state, tmp_path / "ofa.pth")
    supernet = SPACE.supernet(classes=3, checkpoint=str(tmp_path / "ofa.pth"))
    (note,) = supernet.notes
    assert "ofa.pth tells other classes apart: the classifier of the 3 here began at random" in note
    assert torch.equal(supernet.final_expand_layer.weight, state["final_expand_layer.conv.weight"])
    assert supernet.classifier.linear.weight.shape[0] == 3
    assert not supernet.classifier.linear.bias.any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("blocks.3.conv.depth_conv.conv.5to3_matrix"), "lacks blocks.3.conv.depth_conv.conv.5to3_m"),
        (lambda s: s.update({"blocks.30.conv.x": torch.ones(1)}), "has blocks.30.conv.x, which this space has not"),
        (
            lambda s: s.update({"first_conv.conv.weight": torch.ones(24, 3, 3, 3)}),
            r"first_conv.conv.weight is \[24, 3, 3, 3\], this space wants \[8, 3, 3, 3\]; see space.scale and space.w",
        ),
        (lambda s: s.update({"classifier.linear.weight": torch.ones(9, 4)}), r"classifier.linear.weight is \[9, 4\]"),
        (lambda s: s["first_conv.bn.weight"].fill_(torch.nan), "first_conv.bn.weight has values that are no finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_key(tmp_path: Path, change: object, said: str) -> None:
    state = official()
    change(state)  # type: ignore[operator]
    torch.save({"state_dict": state}, tmp_path / "bad.pth")
    with pytest.raises(InputError, match=said):
        SPACE.supernet(classes=CLASSES, checkpoint=str(tmp_path / "bad.pth"))


def test_plain_names_are_one_to_one() -> None:
    keys = list(official())
    assert len({plain_name(key) for key in keys}) == len(keys)
    assert {plain_name(key) for key in older(official()) if "tracked" not in key} == {plain_name(key) for key in keys}
