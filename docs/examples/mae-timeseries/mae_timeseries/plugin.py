"""What this plugin registers. Imports no torch: every `mae` command loads this module."""

from mae_registry import hookimpl
from mae_registry.hookspecs import Register

MAE_API = 1


@hookimpl
def register_tokenizers(register: Register) -> None:
    """Series as patches on a grid of channels and times."""
    register("timeseries_patches", "mae_timeseries.tokenizer:TimeseriesPatches")


@hookimpl
def register_maskers(register: Register) -> None:
    """Spans of time."""
    register("timeseries_spans", "mae_timeseries.masker:Spans")


@hookimpl
def register_datasets(register: Register) -> None:
    """Folders of CSV files."""
    register("timeseries_csv", "mae_timeseries.dataset:TimeseriesCsv")


@hookimpl
def register_modalities(register: Register) -> None:
    """Multivariate time series."""
    register("timeseries", "mae_timeseries.modality:MODALITY")
