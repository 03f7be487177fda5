"""In-place distillation: the largest network learns from labels, the others from it, too."""

from __future__ import annotations

import torch
from spaces.mobilenetv3.test_network import CLASSES, TINY, images, randomise, seeded
from torch.nn import functional as F

from modnas_fast.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from modnas_fast.supernets.passes import Passes


def test_gradients_are_those_of_labels_and_of_what_the_teacher_tells() -> None:
    shared = randomise(MobileNetV3Supernet(TINY, CLASSES))
    assert isinstance(shared, MobileNetV3Supernet)
    onehot, y, share = TINY.sample(3, seeded(1)).double(), torch.arange(4) % CLASSES, 0.3

    def distilled(outputs: torch.Tensor, labels: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        soft = [-(told[0].softmax(-1) * row.log_softmax(-1)).sum(-1).mean() for row in outputs]
        plain = [F.cross_entropy(row, labels) for row in outputs]
        return (1 - share) * torch.stack(plain) + share * torch.stack(soft)

    outputs = shared.predict(images(), onehot)
    teacher, others = outputs[1:2], outputs[[0, 2]]
    loss = (F.cross_entropy(teacher[0], y) + distilled(others, y, teacher.detach()).sum()) / 3
    loss.backward()
    wanted = {name: p.grad.clone() for name, p in shared.named_parameters() if p.grad is not None}
    for chunk in (1, 3):
        shared.zero_grad()
        Passes(shared).add_distilled_gradients(images(), onehot, y, 1, distilled, chunk, hard=True)
        for name, gradient in wanted.items():
            torch.testing.assert_close(shared.get_parameter(name).grad, gradient, atol=1e-10, rtol=1e-8)
    shared.zero_grad()
    for place in range(2):  # as two ranks would, one of which has the teacher
        rows = slice(place, None, 2)
        Passes(shared).add_distilled_gradients(images(), onehot, y, 1, distilled, rows=rows, hard=True)
    for name, gradient in wanted.items():
        torch.testing.assert_close(shared.get_parameter(name).grad, gradient, atol=1e-10, rtol=1e-8)
    assert (wanted["classifier.linear.weight"] != 0).any()
