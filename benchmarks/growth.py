"""How cost grows: data preparation with rows, merge and plan with the model's size, as one picture and its figures.

    python benchmarks/growth.py [--rows 1000 10000 100000 1000000] [--models 4M 33M 0.6B 1.7B 4B 8B] [--out benchmarks]

Writes growth.png and growth.json into --out. Every point is one process: its seconds (of a merge: until the result is on
the disk) and its peak memory. Merge is drawn beside `cp` of the same bytes. The models are Qwen3's shapes in bfloat16
with random weights, made in a temporary folder ($TMPDIR), which needs twice the largest one's size: 33 GB for 8B.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from children import spent
from commands import QWEN3
from preparation import write_rows

HERE = Path(__file__).parent
MODELS = {  # hidden, intermediate, layers, attention heads, vocabulary
    "4M": (256, 768, 3, 4, 4_096),
    "33M": (512, 1536, 6, 8, 24_576),
    "0.6B": (1024, 3072, 28, 16, 151_936),
    "1.7B": (2048, 6144, 28, 16, 151_936),
    "4B": (2560, 9728, 36, 32, 151_936),
    "8B": (4096, 12_288, 36, 32, 151_936),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    found = {"rows": [of_rows(count) for count in options.rows], "models": [of_model(name) for name in options.models]}
    (options.out / "growth.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found, options.out / "growth.png")


def of_rows(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        write_rows(Path(folder) / "rows.csv", count)
        used = spent([sys.executable, HERE / "preparation.py", "--folder", folder, "--step", "this project"])
    return _said({"rows": count, "seconds": used.seconds, "peak_gb": used.peak})


def of_model(name: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        config, work = Path(folder) / name, Path(folder) / "work"
        work.mkdir()
        config.mkdir()
        (config / "config.json").write_text(json.dumps(_config(*MODELS[name])))
        step = [sys.executable, HERE / "merge.py", "--config", config, "--folder", work, "--step"]
        spent([*step, "build"])
        size = sum(file.stat().st_size for file in (work / "base").glob("*.safetensors"))
        copied = float(spent([*step, "cp"]).output.split()[-1])
        shutil.rmtree(work / "cp")
        merged = spent([*step, "merge"])
        knobs = ["--set", f"base.model={config}", "--gpu", "24GB"]
        planned = spent([sys.executable, "-m", "localpsych_recipes.cli", "plan", "demo", *knobs])
    merge = {"merge_seconds": float(merged.output.split()[-1]), "merge_peak_gb": merged.peak, "cp_seconds": copied}
    plan = {"plan_seconds": planned.seconds, "plan_peak_gb": planned.peak}
    return _said({"model": name, "parameters": size / 2, **merge, **plan})


def _config(hidden: int, intermediate: int, layers: int, heads: int, vocabulary: int) -> dict:
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers}
    attention = {"num_attention_heads": heads, "num_key_value_heads": min(heads, 8), "vocab_size": vocabulary}
    return QWEN3 | sizes | attention


def _said(point: dict) -> dict:
    print(
        ", ".join(
            f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}" for key, value in point.items()
        )
    )
    return point


def draw(found: dict, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows, models = found["rows"], found["models"]
    panels = {
        "data preparation, seconds": (rows, "rows", {"seconds": "this project"}),
        "data preparation, GB of memory": (rows, "rows", {"peak_gb": "this project"}),
        "merge, seconds": (models, "parameters", {"merge_seconds": "this project", "cp_seconds": "cp"}),
        "merge, GB of memory": (models, "parameters", {"merge_peak_gb": "this project"}),
        "plan, seconds": (models, "parameters", {"plan_seconds": "this project"}),
        "plan, GB of memory": (models, "parameters", {"plan_peak_gb": "this project"}),
    }
    figure, axes = plt.subplots(3, 2, figsize=(9, 9), layout="constrained")
    for axis, (title, (points, along, lines)) in zip(axes.flat, panels.items(), strict=True):
        for key, label in lines.items():
            axis.plot([p[along] for p in points], [p[key] for p in points], marker="o", label=label)
        axis.set(title=title, xlabel=along, xscale="log", yscale="log")
        axis.grid(alpha=0.3)
        if len(lines) > 1:
            axis.legend()
    figure.savefig(out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
