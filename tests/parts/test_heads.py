"""Heads, held against plain reference code."""

import math
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from mae_core.interfaces import Latent
from mae_core.parts.heads import AttentiveHead, LinearHead
from mae_registry import ConfigError, MaeError

WIDTH, CLASSES = 12, 5


def latent(num_rows: int = 6, *, num_prefix: int = 2, num_tokens: int = 4) -> Latent:
    x = torch.randn(num_rows, num_prefix + num_tokens, WIDTH, generator=torch.Generator().manual_seed(0)) * 3 + 1
    ids = torch.arange(num_tokens).expand(num_rows, -1)
    return Latent(x, num_prefix, ids, {"image": (0, 9)}, {"image": num_tokens})


def normalized(x: Tensor, *, dim: int, eps: float = 1e-6) -> Tensor:
    return (x - x.mean(dim, keepdim=True)) / (x.var(dim, unbiased=False, keepdim=True) + eps).sqrt()


AnyHead = TypeVar("AnyHead", LinearHead, AttentiveHead)


def with_random_weights(head: AnyHead) -> AnyHead:
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return head


@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_a_linear_layer_over_a_normalised_vector(pool, norm):
    head, given = with_random_weights(LinearHead(WIDTH, CLASSES, pool=pool, norm=norm)), latent()
    vector = given.x[:, 2:].mean(1) if pool == "mean" else given.x[:, 0]
    if norm == "layer":
        vector = normalized(vector, dim=1) * head.get_parameter("norm.weight") + head.get_parameter("norm.bias")
    if norm == "batch":
        vector = normalized(vector, dim=0)
    torch.testing.assert_close(head(given), vector @ head.linear.weight.T + head.linear.bias, rtol=1e-4, atol=1e-4)
    assert {name for name, _ in head.named_parameters()} >= {"linear.weight", "linear.bias"}
    assert (len(list(head.norm.parameters())) == 2) == (norm == "layer")


def test_batch_norm_remembers_what_it_saw_and_uses_it_afterwards():
    head, given = LinearHead(WIDTH, CLASSES, pool="cls", norm="batch"), latent()
    vector = given.x[:, 0]
    head(given)
    state = head.state_dict()
    torch.testing.assert_close(state["norm.running_mean"], 0.1 * vector.mean(0))
    torch.testing.assert_close(state["norm.running_var"], 0.9 + 0.1 * vector.var(0))
    mean, variance = state["norm.running_mean"].clone(), state["norm.running_var"].clone()
    expected = ((vector - mean) / (variance + 1e-6).sqrt()) @ head.linear.weight.T
    torch.testing.assert_close(head.eval()(given), expected)
    assert int(state["norm.num_batches_tracked"]) == 1
    assert head(latent(1)).shape == (1, CLASSES)


def test_batch_norm_cannot_learn_from_one_sample_at_a_time():
    with pytest.raises(MaeError, match=r"raise train\.device_batch_size"):
        LinearHead(WIDTH, CLASSES, norm="batch")(latent(1))


@pytest.mark.parametrize("std", [2e-5, 0.01])
def test_weights_at_the_start_have_the_given_deviation(std):
    torch.manual_seed(0)
    head = LinearHead(400, 100, init_std=std)
    assert float(head.linear.weight.detach().std()) == pytest.approx(std, rel=0.02)
    assert not head.linear.bias.any()


def attention(q: Tensor, k: Tensor, v: Tensor, num_heads: int) -> Tensor:
    """(B, D), (B, L, D) twice -> (B, D), a row, a head at a time."""
    rows, size = [], q.shape[-1] // num_heads
    for row in range(len(q)):
        parts = []
        for head in range(num_heads):
            columns = slice(head * size, (head + 1) * size)
            scores = k[row, :, columns] @ q[row, columns] / math.sqrt(size)
            parts.append(scores.softmax(0) @ v[row, :, columns])
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("num_prefix", [0, 1])
def test_a_query_attends_to_all_tokens(num_prefix):
    head, given = with_random_weights(AttentiveHead(WIDTH, CLASSES, heads=3, mlp_ratio=2)), latent(num_prefix=num_prefix)
    context = normalized(given.x, dim=2) * head.get_parameter("norm1.weight") + head.get_parameter("norm1.bias")
    query = head.query[0].expand(len(given.x), -1)
    layer = head.attention
    q = query @ layer.q.weight.T + layer.q.bias
    k, v = (context @ layer.kv.weight.T + layer.kv.bias).split(WIDTH, dim=2)
    query = query + attention(q, k, v, 3) @ layer.proj.weight.T + layer.proj.bias
    hidden = (
        normalized(query, dim=1) * head.get_parameter("norm2.weight") + head.get_parameter("norm2.bias")
    ) @ head.get_parameter("mlp.fc1.weight").T + head.get_parameter("mlp.fc1.bias")
    assert hidden.shape[1] == 2 * WIDTH
    query = (
        query + torch.nn.functional.gelu(hidden) @ head.get_parameter("mlp.fc2.weight").T + head.get_parameter("mlp.fc2.bias")
    )
    expected = query @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(given), expected, rtol=1e-4, atol=1e-4)


def test_heads_that_do_not_divide_the_width():
    with pytest.raises(ConfigError, match="width 12 is not divisible by heads 5"):
        AttentiveHead(WIDTH, CLASSES, heads=5)
