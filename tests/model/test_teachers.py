"""Moving averages of the backbone: which there are, how they move, and what they are kept out of."""

import pytest
import torch
from torch import Tensor

from mae_core import build_model
from mae_core.interfaces import Momentum, Seen, Target
from mae_core.model.autoencoder import MaskedAutoencoder, Pretext
from mae_core.model.teachers import Teachers
from mae_core.parts.optimizers import adamw


class Latents(Target):
    """The mean over a teacher's latent at each patch."""

    dim = 1

    def prepare(self, seen: Seen) -> Tensor:
        assert seen.teacher is not None
        return seen.teacher.encode({seen.entry: seen.x}).tokens.mean(-1, keepdim=True)

    def error(self, pred: Tensor, truth: Tensor) -> Tensor:
        return (pred - truth).square().mean(-1)


def with_teacher(config, momentum: Momentum) -> MaskedAutoencoder:
    """The recipe's model, of the first value of whose predictions something else is asked."""
    torch.manual_seed(0)
    model = build_model(config)
    target = Latents()
    target.momentum = momentum
    pretext = model.modalities["image"]
    assert isinstance(pretext, Pretext)
    pretext.target = target
    pretext.decoder.set_submodule("head", torch.nn.Linear(32, 1))
    return MaskedAutoencoder(model.backbone, {"image": pretext})


@pytest.mark.parametrize(
    ("momentum", "expected"),
    [
        (Momentum(0.996, 1.0), [0.996, 0.997, 0.998, 1.0]),
        (Momentum(0.9, 1.0, num_steps=50), [0.9, 0.95, 1.0, 1.0]),
        (Momentum(0.0, 1.0, shape="cosine"), [0.0, 0.1464466, 0.5, 1.0]),
        (Momentum(0.5, 0.5), [0.5, 0.5, 0.5, 0.5]),
    ],
)
def test_momentum_goes_from_start_to_end(momentum, expected):
    assert [momentum.at(step, 100) for step in (0, 25, 50, 100)] == pytest.approx(expected)


def test_a_teacher_begins_as_the_backbone_and_moves_by_its_momentum(tiny_config):
    model = with_teacher(tiny_config, Momentum(0.75, 0.75))
    before = {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    (teacher,) = model.teachers
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter += 1
    model.after_step(0, 10)
    for name, tensor in teacher.state_dict().items():
        torch.testing.assert_close(tensor, before[name] + 0.25)


def test_a_teacher_gets_no_gradient_no_optimizer_and_no_training_mode(tiny_config):
    model = with_teacher(tiny_config, Momentum(0.996, 1.0)).train()
    model({"image": torch.randn(2, 3, 24, 32)}).loss.backward()
    (teacher,) = model.teachers
    assert not teacher.training
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    optimized = {id(p) for group in adamw(model, 8, lr=1e-3).param_groups for p in group["params"]}
    assert optimized == {id(p) for p in model.parameters() if p.requires_grad}
    assert not optimized & {id(p) for p in teacher.parameters()}


def test_a_teacher_stays_in_float32_and_is_saved(tiny_config):
    model = with_teacher(tiny_config, Momentum(0.5, 0.5))
    student = model.backbone.bfloat16()
    teachers = Teachers(student, {"image": Momentum(0.5, 0.5)})
    assert {parameter.dtype for parameter in teachers.parameters()} == {torch.float32}
    teachers.follow(student, step=0, num_steps=10)
    assert {name.partition(".")[0] for name in teachers.state_dict()} == {"0"}
    assert {name for name in model.state_dict() if name.startswith("teachers.0.encoder.blocks.1.")}


def test_targets_of_one_schedule_share_a_teacher(tiny_config):
    backbone = build_model(tiny_config).backbone
    slow, fast = Momentum(0.999, 1.0), Momentum(0.9, 1.0)
    teachers = Teachers(backbone, {"one": slow, "pixels": None, "two": fast, "three": Momentum(0.999, 1.0)})
    assert len(teachers) == 2
    assert teachers.of("one") is teachers.of("three") is teachers[0]
    assert teachers.of("two") is teachers[1]
    assert teachers.of("pixels") is None
