import math
from pathlib import Path

import pytest
import torch
from places import target_place, truth_of
from safetensors.torch import save_file
from torch import Tensor

from mae_core.parts.patches import PatchTokenizer
from mae_core.parts.principal_components import PrincipalComponents, measure_basis
from mae_core.parts.tensor_files import write_tensors
from mae_core.testing import check_target
from mae_image.tokenizer import ImagePatches
from mae_registry import ConfigError, MaeError

SIZES = {"input_size": [8, 12], "patch_size": [4, 4], "channels": 2, "mean": [0.5, 0.5], "std": [0.25, 0.25]}
NUM_VALUES = 32


def tokenizer() -> PatchTokenizer:
    return ImagePatches(8, **SIZES)  # type: ignore[arg-type]


def samples(number: int = 40) -> Tensor:
    """Sums of four fixed pictures, and a little noise."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(4, 2, 8, 12, generator=generator)
    weights = torch.randn(number, 4, generator=generator) * torch.tensor([4.0, 3.0, 2.0, 1.0]) + 1
    return torch.einsum("np,pchw->nchw", weights, parts) + 0.1 * torch.randn(number, 2, 8, 12, generator=generator)


@pytest.fixture
def basis(tmp_path: Path) -> Path:
    path = tmp_path / "basis.safetensors"
    write_tensors(path, measure_basis([tokenizer().patchify(samples())]))
    return path


def target(file: Path, num_components: int) -> PrincipalComponents:
    made = PrincipalComponents(target_place(tokenizer()), num_components=num_components, file=str(file))
    made.read_weights()
    return made


def test_the_basis_is_that_of_the_singular_values():
    patches = tokenizer().patchify(samples()).flatten(0, 1).double()
    found = measure_basis(patches.float().split(7))
    mean, components, variances = (found[name].double() for name in ("mean", "components", "variances"))
    centered = patches - patches.mean(dim=0)
    _, singular, vectors = torch.linalg.svd(centered, full_matrices=False)
    torch.testing.assert_close(mean, patches.mean(dim=0), atol=1e-5, rtol=0)
    torch.testing.assert_close(variances, singular**2 / (len(patches) - 1), atol=1e-4, rtol=1e-4)
    alike = (components * vectors).sum(dim=1).abs()
    assert alike[:4].min() > 0.9999
    torch.testing.assert_close(components @ components.T, torch.eye(NUM_VALUES, dtype=torch.float64), atol=1e-5, rtol=0)
    assert (components.amax(dim=1) >= -components.amin(dim=1)).all()


def test_components_need_two_patches():
    with pytest.raises(MaeError, match="two patches or more; there are 1"):
        measure_basis([torch.zeros(1, 1, 5)])
    with pytest.raises(MaeError, match="there are 0"):
        measure_basis([])


def test_coefficients_are_uncorrelated_and_the_largest_first(basis: Path):
    truth = truth_of(target(basis, 6), tokenizer(), samples()).flatten(0, 1).double()
    covariance = truth.T.cov()
    variances = covariance.diag()
    assert truth.mean(dim=0).abs().max() < 1e-4
    assert variances.tolist() == sorted(variances.tolist(), reverse=True)
    assert (covariance - variances.diag()).abs().max() < 1e-4 * variances[0]


def test_the_error_is_the_mean_square_and_that_of_the_patches_in_their_space(basis: Path):
    every, x = target(basis, NUM_VALUES), samples(3)
    truth = truth_of(every, tokenizer(), x)
    pred = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    error = every.error(pred, truth)
    one = [(a - b) ** 2 for a, b in zip(pred[1, 2].tolist(), truth[1, 2].tolist(), strict=True)]
    assert error[1, 2].item() == pytest.approx(math.fsum(one) / NUM_VALUES, rel=1e-5)
    in_patches = (every.raw_patches(pred) - tokenizer().patchify(x)).square().mean(dim=-1)
    torch.testing.assert_close(error, in_patches, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_components", [1, 4, NUM_VALUES])
def test_pictures_lack_the_variance_of_the_other_components(basis: Path, num_components: int):
    patches = tokenizer().patchify(samples())
    variances = measure_basis([patches])["variances"]
    pca = target(basis, num_components)
    drawn = pca.to_patches(truth_of(pca, tokenizer(), samples()), patches)
    error = float((drawn - patches).square().sum(dim=-1).mean())
    number = patches.shape[0] * patches.shape[1]
    assert error == pytest.approx(float(variances[num_components:].sum()) * (number - 1) / number, rel=1e-4, abs=1e-6)


def test_the_contract_of_targets():
    check_target({"name": "pca", "num_components": 5}, tokenizer={"name": "image_patches", **SIZES})


def test_what_is_predicted_does_not_depend_on_the_precision_of_the_step(basis: Path):
    pca, x = target(basis, 6), samples()
    plain = truth_of(pca, tokenizer(), x)
    with torch.autocast("cpu", torch.bfloat16):
        assert truth_of(pca, tokenizer(), x).equal(plain)


def test_wrong_files_say_what_to_do(tmp_path: Path, basis: Path):
    def reading(**recipe: object) -> str:
        with pytest.raises(ConfigError) as error:
            PrincipalComponents(target_place(tokenizer()), **recipe).read_weights()  # type: ignore[arg-type]
        assert "mae statistics RECIPE --pca FILE" in str(error.value)
        return str(error.value)

    assert "needs a value" in reading(num_components=4)
    assert "cannot be read" in reading(num_components=4, file=str(tmp_path / "none.safetensors"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no tensors")
    assert "damaged" in reading(num_components=4, file=str(damaged))
    save_file({"codes": torch.zeros(2, 2)}, tmp_path / "codes.safetensors")
    assert "has no tensor 'mean', but codes" in reading(num_components=4, file=str(tmp_path / "codes.safetensors"))
    save_file(measure_basis([torch.rand(9, 5)]), tmp_path / "other.safetensors")
    assert "patches of 5 values; needed are 4 components of patches of 32 values" in reading(
        num_components=4, file=str(tmp_path / "other.safetensors")
    )
    with pytest.raises(ConfigError, match="num_components is 33, but a patch has only 32 values"):
        PrincipalComponents(target_place(tokenizer()), num_components=33)
