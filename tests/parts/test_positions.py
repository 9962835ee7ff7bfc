import math

import pytest
import torch

from mae_core import Grid
from mae_core.parts.positions import Learned, NoPositions, SinCos, sincos_table


def published_2d_table(height: int, width: int, dim: int) -> torch.Tensor:
    """The published table one number at a time: column in the first half, row in the second, each [sin | cos]."""
    table = []
    for row in range(height):
        for column in range(width):
            values = []
            for place in (column, row):
                angles = [place / 10000 ** (i / (dim / 4)) for i in range(dim // 4)]
                values += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            table.append(values)
    return torch.tensor(table, dtype=torch.float64).float()


@pytest.mark.parametrize(("height", "width", "dim"), [(14, 14, 768), (3, 5, 8), (1, 4, 12), (16, 2, 512)])
def test_two_axes_as_published(height: int, width: int, dim: int) -> None:
    table = sincos_table(Grid(h=height, w=width), dim)
    assert table.dtype == torch.float32
    torch.testing.assert_close(table, published_2d_table(height, width, dim), rtol=0, atol=1e-7)


def test_one_axis_has_the_whole_width() -> None:
    table = sincos_table(Grid(t=6), 8)
    expected = [[f(n / 10000 ** (i / 4)) for f in (math.sin, math.cos) for i in range(4)] for n in range(6)]
    torch.testing.assert_close(table, torch.tensor(expected), rtol=0, atol=1e-6)


def test_similarity_depends_on_the_distance_alone() -> None:
    table = sincos_table(Grid(t=9), 16).double()
    similarity = table @ table.T
    for distance in range(9):
        diagonal = similarity.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert (similarity.diagonal(1) < similarity.diagonal(0)[0] - 0.1).all()


def test_three_axes_share_the_width_fastest_first() -> None:
    grid = Grid(t=2, h=3, w=4)
    table, coordinates = sincos_table(grid, 24), grid.coordinates()
    for part, axis in enumerate([2, 1, 0]):
        own = sincos_table(Grid(a=grid.sizes[axis]), 8)
        assert table[:, 8 * part : 8 * (part + 1)].equal(own[coordinates[:, axis]])


@pytest.mark.parametrize(("sizes", "width", "even"), [((3, 4), 7, 8), ((3, 4), 5, 8), ((5,), 3, 4), ((2, 3, 4), 16, 18)])
def test_an_uneven_width_is_cut_from_an_even_one(sizes: tuple[int, ...], width: int, even: int) -> None:
    grid = Grid(**{f"a{i}": size for i, size in enumerate(sizes)})
    assert sincos_table(grid, width).equal(sincos_table(grid, even)[:, :width])


@pytest.mark.parametrize("sizes", [(64,), (14, 14), (8, 7, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("width", [30, 32])
def test_every_place_has_its_own_vector(sizes: tuple[int, ...], width: int) -> None:
    table = sincos_table(Grid(**{f"a{i}": size for i, size in enumerate(sizes)}), width)
    distances = torch.cdist(table, table).fill_diagonal_(torch.inf)
    assert distances.min() > 1e-2


def test_fixed_positions_are_looked_up_and_not_saved() -> None:
    grid = Grid(h=2, w=3)
    positions = SinCos(grid, 8)
    ids = torch.tensor([[5, 0], [1, 1]])
    assert positions(ids).equal(sincos_table(grid, 8)[ids])
    assert list(positions.parameters()) == []
    assert positions.state_dict() == {}
    assert positions.class_position() is None


def test_learned_positions_learn_where_they_are_used() -> None:
    torch.manual_seed(0)
    positions = Learned(Grid(h=20, w=20), 32)
    assert float(positions.table.detach().std()) == pytest.approx(0.02, rel=0.05)
    positions(torch.tensor([[3, 7]])).sum().backward()
    assert positions.table.grad is not None
    assert positions.table.grad.sum(dim=1).nonzero().flatten().tolist() == [3, 7]
    assert list(positions.state_dict()) == ["table"]


def test_no_positions_add_nothing() -> None:
    tokens = torch.rand(2, 3, 4)
    assert (tokens + NoPositions(Grid(h=4), 4)(torch.zeros(2, 3, dtype=torch.int64))).equal(tokens)


def test_learned_positions_may_have_one_for_the_class_token() -> None:
    torch.manual_seed(0)
    positions = Learned(Grid(h=2, w=3), 400, class_token=True)
    row = positions.class_position()
    assert row is not None
    assert row.shape == (1, 1, 400)
    assert float(row.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert list(positions.state_dict()) == ["table", "class_row"]
    assert Learned(Grid(h=2, w=3), 400).class_position() is None
