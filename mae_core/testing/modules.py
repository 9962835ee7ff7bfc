"""What holds for every part that is a module: meta device, bfloat16, save and load, compilation."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mae_core.testing.subject import GUIDE, Subject

TOLERANCE = 1e-4
"""Between two ways to the same float32 numbers, relative to the largest of them."""

M = TypeVar("M", bound=nn.Module)


def check_module(subject: Subject, make: Callable[[], M], run: Callable[[M], Tensor], *, whole: bool = True) -> None:
    """`make` builds a fresh part; `run` gives what it computes from fixed inputs, the same each time in evaluation mode.

    `whole`: compiles as one graph.
    """
    with torch.device("meta"):  # as a recipe is checked
        make()
    module = make().eval()
    _require_registered(subject, module)
    with torch.no_grad(), subject.attempt("running it", contract=subject.at()):
        expected = run(module)
        require_close(subject, run(module), expected, "it does not compute the same twice", contract=GUIDE)
    _check_save_and_load(subject, module, make().eval(), run, expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), subject.attempt("bfloat16", contract=GUIDE):
        found = run(module)
    subject.require_shape(found, tuple(expected.shape), "what it computes in bfloat16", contract=GUIDE)
    finite = bool(found.isfinite().all() or not expected.isfinite().all())
    subject.require(finite, "it computes NaN or infinity in bfloat16", contract=GUIDE)
    compiled = _compiled(subject, lambda: run(module), whole=whole)
    require_close(subject, compiled, expected, "torch.compile changes what it computes", contract=GUIDE)


def require_close(subject: Subject, found: Tensor, expected: Tensor, problem: str, *, contract: str) -> None:
    """Fail with `problem` unless the numbers agree; NaN agrees with NaN."""
    subject.require_shape(found, tuple(expected.shape), f"{problem}: it", contract=contract)
    found, expected = found.detach().double(), expected.detach().double()
    largest = float(expected.nan_to_num(0).abs().max()) if expected.numel() else 0.0
    if not torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(largest, 1.0), equal_nan=True):
        difference = float((found - expected).abs().nan_to_num(torch.inf).max())
        subject.require(False, f"{problem} (largest difference {difference:.3g})", contract=contract)


def _check_save_and_load(
    subject: Subject, module: nn.Module, other: nn.Module, run: Callable[[Any], Tensor], expected: Tensor
) -> None:
    """Weights through a file into another one, built in the same way: it must compute the same."""
    with subject.attempt("saving and loading its state_dict", contract=GUIDE):
        file = io.BytesIO()
        torch.save(module.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        found = run(other)
    problem = "after saving and loading it computes something else: some of its state is no parameter or buffer"
    require_close(subject, found, expected, problem, contract=GUIDE)


def _compiled(subject: Subject, function: Callable[[], Tensor], *, whole: bool) -> Tensor:
    """Traced, then run as it is: finds what cannot be compiled, without a compiler."""
    torch.compiler.reset()  # what was compiled before counts against the limit of recompilations
    with torch.no_grad(), subject.attempt("torch.compile", contract=GUIDE):
        return torch.compile(function, backend="eager", fullgraph=whole)()


def _require_registered(subject: Subject, module: nn.Module) -> None:
    loose = [f"{name}.{key}".lstrip(".") for name, part in module.named_modules() for key in _loose_tensors(part)]
    problem = (
        f"{', '.join(loose)} is a tensor but neither parameter nor buffer, so it stays behind when the model moves to a GPU"
    )
    subject.require(not loose, problem, contract=GUIDE)


def _loose_tensors(module: nn.Module) -> Iterator[str]:
    for key, value in vars(module).items():
        values: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, Tensor) for item in values):
            yield key
