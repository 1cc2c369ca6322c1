"""Autoregression or diffusion, perceptrons or experts: families of generative models on digits with words.

    python -m benchmarks.unified [--seeds 3] [--operations 2e12] [--folder runs/unified] [--only raster flow ...]

All have the transformer of `models.blocks.transformer` at about as many parameters, and as many operations in training,
as XLA counts them; how many steps these are depends on the family. Data: scikit-learn's digits, each with its word, as
the text of a sequence or as the label that a network is conditioned on. Columns of the first table:

- bits/dim: of a held-out image given its word; the exact value, of flow matching that of its ODE with one Hutchinson
  probe per image, or an upper bound (<=)
- word given image: how often the likeliest of the ten words is that of a held-out image. A model of sequences has
  p(word | image); others have it by Bayes' rule from their bound on p(image | word), with the same noise for all words
- image given word: how often a support-vector machine, trained on training digits alone, finds the word of an image
- network calls: of a sample; of the masked autoregressive model those of the backbone and of the head
- seconds per sample: in one batch, after compilation
- novelty: the median distance to the nearest training digit, over that of held-out digits; 1: no copies

The second table has mixtures of four experts in place of the perceptrons of the autoregressive model, in as many steps
and at as many active parameters. Figures are means over seeds with standard errors. Finished trainings are not done
again. Writes unified.md and unified.html, whose conclusions are computed from the tables, into the folder.
"""

import argparse
import pathlib
from typing import Any

from benchmarks.comparison import page
from benchmarks.comparison.families import EXPERTS, FAMILIES, Size
from benchmarks.comparison.measure import measured
from core.files import write_atomically
from runtime import malloc
from runtime.compile_cache import use_compile_cache


def compare(
    folder: pathlib.Path, size: Size, operations: float, seeds: int, only: tuple[str, ...] = ()
) -> dict[str, list[dict[str, Any]]]:
    """The figures of each family and seed, by the name of the family."""
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        for family in (*FAMILIES, *EXPERTS[1:]):
            if only and family.name not in only:
                continue
            results.setdefault(family.name, []).append(measured(family, size, operations, folder, seed))
            write(folder, results, operations, seed + 1)
    return results


def write(folder: pathlib.Path, results: page.Results, operations: float, seeds: int) -> str:
    """The page and the tables of what there is so far; returns the latter."""
    tables = {
        "Families": page.rows(results, FAMILIES, page.COLUMNS),
        "Perceptrons and mixtures of experts": page.rows(results, EXPERTS, page.EXPERT_COLUMNS),
    }
    found = page.conclusions(results)
    judge = max(each["judge"] for of_family in results.values() for each in of_family)
    about = [
        f"{operations:.3g} operations of training each, {seeds} seeds; means with standard errors over seeds.",
        f"bits/dim of a bound are marked by ≤. The judge is right on {judge:.3f} of held-out digits.",
        *(f"{f.title}: finds the word of an image {f.reads}." for f in FAMILIES if f.name in results),
    ]
    text = "\n\n".join([*about, *map(page.markdown, tables.values()), "\n".join(f"- {each}" for each in found)]) + "\n"
    shown = page.as_html("Families of generative models on digits with words", about, tables, found)
    for name, content in (("unified.md", text), ("unified.html", shown)):
        write_atomically(folder / name, lambda file, content=content: file.write(content.encode()))  # type: ignore[misc]
    return text


def main() -> None:
    """Trains, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/unified"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--operations", type=float, default=2e12, help="of each training")
    parser.add_argument("--only", nargs="*", default=(), help="names of families")
    for name, value in vars(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    use_compile_cache(None)
    size = Size(**{name: getattr(given, name) for name in vars(Size())})
    given.folder.mkdir(parents=True, exist_ok=True)
    results = compare(given.folder, size, given.operations, given.seeds, tuple(given.only))
    print(write(given.folder, results, given.operations, given.seeds))


if __name__ == "__main__":
    malloc.configure()
    main()
