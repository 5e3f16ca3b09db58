"""Settings of the libraries that must stand before they are imported: no telemetry, no noise."""

from __future__ import annotations

import logging
import os
import warnings

DEFAULTS = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",  # ten lines of "Retrying in ..." before our one message that nobody answers
    "TOKENIZERS_PARALLELISM": "false",  # forked data loaders would warn and hang
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TQDM_DISABLE": "1",
}


def settle() -> None:
    """Sets what the user has not set already; before the first import of a Hugging Face library."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.pop("OPENAI_LOG", None)  # the client would print every request, and so the rows in it
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it misses an optional kernel at every start on CPUs
    warnings.filterwarnings("ignore", message="Paged optimizers are not supported on CPU")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
