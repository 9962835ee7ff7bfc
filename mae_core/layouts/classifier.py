"""Layouts of published classifiers: a backbone, and the linear head over what it returns."""

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from mae_core.layouts.table import HEAD, Table, TableLayout
from mae_core.model.backbone import Backbone
from mae_core.parts.heads import LinearHead
from mae_registry import MaeError


class ClassifierLayout(TableLayout):
    """A layout whose `names` are those of the backbone; to which it adds those of the head, as the published MAE has them.

    The linear layer is `head.`, behind a LayerNorm of its own, `fc_norm.`, where fine-tuning pools tokens; of linear probing
    `head.0.` is a BatchNorm and `head.1.` the layer. The encoder's last norm may be missing.
    """

    def table(self, model: nn.Module, entry: str) -> Table:
        """The table for this classifier, or for a backbone, which leaves the head out."""
        table = super().table(model, entry)
        return replace(table, names={**table.names, **self._head_names(model)})

    def _head_names(self, model: nn.Module) -> Mapping[str, str]:
        head = getattr(model, "head", None)
        if not isinstance(model, Backbone) and not isinstance(head, LinearHead):
            kind = type(model).__name__ if head is None else f"{type(model).__name__} whose head is {type(head).__name__}"
            raise MaeError(f"this layout is for classifiers whose head is linear, and their backbones; this model is a {kind}")
        if isinstance(head, LinearHead) and isinstance(head.norm, nn.BatchNorm1d):
            return {f"{HEAD}norm.": "head.0.", f"{HEAD}linear.": "head.1."}
        return {f"{HEAD}norm.": "fc_norm.", f"{HEAD}linear.": "head."}
