"""The reference page of the settings, written from their declarations.

    python -m configs.reference

writes `docs/reference/configs.md`; a test compares the page with the declarations.
"""

import pathlib

from configs.keys import Key
from configs.sections import SECTIONS

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "reference" / "configs.md"
EFFECTS = {"model": "new run", "evaluation": "new evaluation", "nothing": "any time"}
USES = {"error": "", "stored": " (ignored with a checkpoint)", "given": " (accepted with a checkpoint)"}
MODULES = (
    "configs.default", "configs.keys", "configs.checks", "configs.needs", "configs.validation", "configs.files",
    "configs.parsers", "configs.stored", "configs.reference", "configs.presets.datasets", "configs.presets.networks",
    "configs.presets.processes", "configs.presets.sizes",
)  # fmt: skip
INTRODUCTION = """\
---
hide: [toc]
---

# Settings

<!-- Written by `python -m configs.reference` from the declarations in configs/sections/. -->

Every setting is a flag: `--config.optim.lr=1e-3`. Booleans are set by `--config.eval.enable_bpd` and unset by
`--noconfig.eval.enable_bpd`. A name that does not exist is refused, and the error names the nearest one that does.
Settings that are unset by default can be unset again by `--config.KEY=None`.

The last column says when a setting may be changed:

- *any time*: a resumed run may change it, and rounds of an evaluation that has begun remain valid.
- *new evaluation*: a resumed run may change it. Rounds of an evaluation do not carry over: use another `--eval_folder`.
- *new run*: it determines the model or its data. A resumed run refuses another value, unless `--allow_config_change` is
  given, and rounds of an evaluation do not carry over. Programs that use a checkpoint (`sample`, `eval`, `export`)
  refuse another value than the checkpoint's, or *ignore* it if it only matters for training, or *accept* it.
"""


def page() -> str:
    """The whole page, in Markdown."""
    tables = (f"## {section or 'Outside any section'}\n\n{table(keys)}" for section, keys in SECTIONS.items())
    directives = "\n".join(f"::: {module}\n" for module in MODULES)
    return "\n".join((INTRODUCTION, *tables, "## Functions\n", directives))


def table(keys: dict[str, Key]) -> str:
    """One section: a row for each setting."""
    head = "| Setting | Default | Values | Meaning | May be changed |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(_row(name, key) for name, key in keys.items())


def _row(name: str, key: Key) -> str:
    default = f"unset ({key.default.__name__})" if isinstance(key.default, type) else f"`{key.default!r}`"
    values = key.check.words.replace("be ", "", 1) if key.check else ""
    return f"| `{name}` | {default} | {values} | {key.help} | {EFFECTS[key.changes]}{USES[key.mismatch]} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
