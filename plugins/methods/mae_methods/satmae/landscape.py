"""Synthetic landscapes as a satellite would see them, in any band of light and at any date."""

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

MATERIALS = {
    "leaves": {0.45: 0.03, 0.55: 0.09, 0.67: 0.04, 0.70: 0.13, 0.74: 0.36, 0.78: 0.46, 0.87: 0.48, 1.6: 0.22, 2.2: 0.10},
    "soil": {0.45: 0.09, 0.55: 0.14, 0.67: 0.21, 0.78: 0.25, 1.6: 0.36, 2.2: 0.32},
    "water": {0.45: 0.08, 0.55: 0.06, 0.67: 0.03, 0.74: 0.01, 2.2: 0.005},
    "roofs": {0.45: 0.20, 0.55: 0.22, 0.67: 0.26, 0.87: 0.28, 1.6: 0.33, 2.2: 0.30},
}
"""Reflectance by wavelength in micrometres, linear in between: roughly what these materials have."""
YEARS = 18
"""The number of years, beginning with 2002, during which towns grow."""
PARCEL = 12
"""Pixels along a side of a parcel of land, on average."""


@dataclass(frozen=True)
class Date:
    """When an image was taken, counted as SatMAE does."""

    year: int
    """Years since 2002."""
    month: int
    """0 to 11."""
    hour: int
    """0 to 23."""

    @classmethod
    def drawn(cls, random: Random) -> "Date":
        """A date in any year and month, by daylight."""
        return cls(random.randrange(YEARS), random.randrange(12), random.randrange(7, 18))

    def __str__(self) -> str:
        return f"{2002 + self.year}-{self.month + 1:02d} {self.hour}h"


class Landscape:
    """Parcels of land that are green at different times of the year, a stretch of water, and a town that grows.

    Everything is drawn from `random`, which is the same landscape each time for an equal generator.
    """

    def __init__(self, height: int, width: int, *, random: Random) -> None:
        generator = torch.Generator().manual_seed(random.getrandbits(63))
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        parcels = _parcels(rows, columns, generator)
        number = int(parcels.max()) + 1
        self._lushness = (0.3 + 0.7 * torch.rand(number, generator=generator))[parcels]
        self._greenest_month = (3 + 6 * torch.rand(number, generator=generator))[parcels]
        self._texture = 0.8 + 0.4 * _smooth_noise(height, width, side=3, generator=generator)
        self._is_water = _smooth_noise(height, width, side=32, generator=generator) > random.uniform(0.55, 0.9)
        row, column = random.randrange(height), random.randrange(width)
        ragged = 6 * _smooth_noise(height, width, side=4, generator=generator)
        self._from_town = ((rows - row) ** 2 + (columns - column) ** 2).sqrt() + ragged
        self._is_house = (rows % 4 < 3) & (columns % 4 < 3)
        self._reach = random.uniform(0.2, 0.6) * max(height, width)

    def seen(self, wavelengths: tuple[float, ...], date: Date) -> Tensor:
        """(bands, H, W), the light that comes back: 0 to about 0.5."""
        green = self._lushness * (0.5 + 0.5 * torch.cos((date.month - self._greenest_month) * math.pi / 6))
        is_town = self._from_town < self._reach * (0.3 + 0.7 * date.year / YEARS)
        leaves, soil, water, roofs = (_spectrum(points, wavelengths) for points in MATERIALS.values())
        land = self._texture * (green * leaves + (1 - green) * soil)
        town = torch.where(self._is_house, roofs, 0.6 * soil)
        sunlight = 0.45 + 0.55 * math.cos((date.hour - 12) * math.pi / 12)
        return sunlight * torch.where(self._is_water, water, torch.where(is_town, town, land))


def _parcels(rows: Tensor, columns: Tensor, generator: torch.Generator) -> Tensor:
    """(H, W) numbers of parcels: those of the nearest of random points."""
    number = max(4, rows.numel() // PARCEL**2)
    points = torch.rand(number, 2, generator=generator) * torch.tensor([rows.shape[0], rows.shape[1]])
    apart = (rows[..., None] - points[:, 0]).abs() + (columns[..., None] - points[:, 1]).abs()
    return apart.argmin(dim=-1)


def _smooth_noise(height: int, width: int, *, side: int, generator: torch.Generator) -> Tensor:
    """(H, W) from 0 to 1, with features of about `side` pixels."""
    coarse = torch.rand(1, 1, height // side + 2, width // side + 2, generator=generator)
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)[0, 0]


def _spectrum(points: dict[float, float], wavelengths: tuple[float, ...]) -> Tensor:
    """(bands, 1, 1) reflectances."""
    values = np.interp(wavelengths, list(points), list(points.values()))
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1)
