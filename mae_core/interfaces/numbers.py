"""Numbers as recipes give them, so that a wrong one is refused with its line before anything is built."""

from typing import Annotated

from pydantic import Field

Positive = Annotated[int, Field(ge=1)]
"""A size or a count."""
Depth = Annotated[int, Field(ge=1, le=500)]
"""How many blocks follow each other."""
Probability = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
"""How often something is left out, which is not always."""
Share = Annotated[float, Field(gt=0, le=1)]
"""A part of a whole, which is not nothing."""
PositiveFloat = Annotated[float, Field(gt=0)]
ShareRange = tuple[Share, Share]
PositiveRange = tuple[PositiveFloat, PositiveFloat]
