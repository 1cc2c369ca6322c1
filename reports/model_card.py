"""The README of a model that stands alone: what it is, how it was measured, and how to use it."""

from collections.abc import Mapping
from typing import Any

from reports.console import as_text
from reports.records import Checkpoint

PICTURE = "samples.png"  # beside the card
TEXT = """---
tags: [jax, diffusion, score-based]
---

# {name}

{picture}
| | |
| --- | --- |
{table}

## Use

Run these in a clone of the code that exported this folder. They need neither the data nor the workdir.

```sh
python main.py --mode=sample --model={name} --num_samples=16 --output=samples
```

```python
import run_lib

model = run_lib.load("{name}")
samples = model.sample(16)
```

Files are read as arrays and JSON; code that the config names by an import path runs only with `--allow_code=PATH`.

## Measured

{measured}
"""


def model_card(
    name: str,
    about: Mapping[str, Any],
    num_params: int,
    config: Mapping[str, Any],
    sampler: str,
    report: Checkpoint | None,
) -> str:
    """Markdown for a model called `name`.

    about: "checkpoint", "step" and "data", as the folder stores them. sampler: in words, empty for a model without an
    SDE. report: that of its checkpoint, or None.
    """
    x = about["data"]["fields"]["x"]
    values = f"{x['num_levels']} levels" if x["num_levels"] else "numbers without levels"
    classes = config["model"]["num_labels"]
    rows = {
        "system": config["system"],
        "data": config["data"]["dataset"],
        "shape": f"{' x '.join(map(str, x['shape']))}, {values}",
        "classes that it is conditioned on": classes or "none",
        "network": f"{config['model']['name']}, {num_params:,} parameters",
        "SDE": config["training"]["sde"] if sampler else "",
        "checkpoint": f"{about['checkpoint']}, after {about['step']:,} steps",
        "batch size": config["training"]["batch_size"],
        "sampler": sampler,
    }
    table = [f"| {key} | {value} |" for key, value in rows.items() if value != ""]
    picture = [f"![Samples]({PICTURE})", ""] if report is not None and report.grid else []
    return TEXT.format(
        name=name, table="\n".join(table), picture="\n".join(picture), measured="\n".join(_measured(report))
    )


def _measured(report: Checkpoint | None) -> list[str]:
    """The figures of a report as a console shows them, with error bars, baselines and numbers of examples."""
    figures = "" if report is None else as_text(report.report["results"], report.columns)
    if not figures:
        return ["The checkpoint has no report; `--mode=eval` writes one."]
    return ["```text", figures, "```", "", "± is one standard error, where nothing else is said."]
