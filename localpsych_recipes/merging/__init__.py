"""Merging a LoRA adapter into the base's own files, tensor by tensor, in memory that does not grow with the model."""

from localpsych_recipes.merging.merge import MergeReport, merge_adapter, refuse_links_out

__all__ = ["MergeReport", "merge_adapter", "refuse_links_out"]
