"""Each file of recipes/accelerate is one that the installed accelerate reads and knows every key of."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from accelerate import FullyShardedDataParallelPlugin
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin

FOLDER = Path(__file__).resolve().parents[2] / "recipes/accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))
KINDS = {
    "one-gpu": "NO",
    "ddp": "MULTI_GPU",
    "fsdp2-qlora": "FSDP",
    "deepspeed-zero2": "DEEPSPEED",
    "deepspeed-zero3": "DEEPSPEED",
    "two-machines": "MULTI_GPU",
}
# keys of accelerate's own that are no field of DeepSpeedPlugin: its configuration calls them so
DEEPSPEED_LAUNCHER = {"deepspeed_multinode_launcher"}


def options() -> set[str]:
    return {action.dest for action in launch_command_parser()._actions}


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_accelerate_reads_it_as_what_it_is_called(file):
    config = load_config_from_file(str(file))  # raises for a key that it does not know
    assert config.distributed_type.value == KINDS[file.stem]
    arguments = launch_command_parser().parse_args(["--config_file", str(file), "-m", "localpsych_recipes", "demo"])
    found, _, _ = _validate_launch_command(arguments)
    assert found.num_processes == config.num_processes and found.mixed_precision == config.mixed_precision
    assert (found.use_fsdp, found.use_deepspeed, found.multi_gpu) == tuple(
        KINDS[file.stem] == kind for kind in ("FSDP", "DEEPSPEED", "MULTI_GPU")
    )


def test_every_file_is_one_of_the_pages_table():
    table = re.findall(r"\]\((\S+)\.yaml\)", (FOLDER / "README.md").read_text())
    assert set(table) == {file.stem for file in FILES} == set(KINDS)


def test_fsdp_keys_are_those_of_the_plugin():
    keys = load_config_from_file(str(FOLDER / "fsdp2-qlora.yaml")).fsdp_config
    fields = {field.name for field in dataclasses.fields(FullyShardedDataParallelPlugin)}
    plugin = {key.removeprefix("fsdp_") for key in keys} | {"fsdp_version"}
    renamed = {"version": "fsdp_version", "offload_params": "cpu_offload"}
    assert {renamed.get(key, key) for key in plugin} <= fields
    assert set(keys) <= options()


@pytest.mark.parametrize("stage", (2, 3))
def test_deepspeed_keys_are_those_of_the_plugin(stage):
    keys = load_config_from_file(str(FOLDER / f"deepspeed-zero{stage}.yaml")).deepspeed_config
    fields = {field.name for field in dataclasses.fields(DeepSpeedPlugin)}
    assert keys["zero_stage"] == stage
    assert set(keys) <= options()
    assert set(keys) - DEEPSPEED_LAUNCHER - {"zero3_save_16bit_model", "zero3_init_flag"} <= fields | {
        "gradient_clipping"
    }
