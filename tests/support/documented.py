"""The commands in the documentation: those of this repository's programs, and other shell lines."""

import itertools
import re
import shlex
from typing import NamedTuple

from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RECIPE = re.compile(
    r"^```\w+\n# \S+\.(?:py|md)\b.*?^```$", re.M | re.S
)  # a file, or a part of one, that is to be written
PROGRAM = re.compile(r"\bpython (?:(main|sweep)\.py|-m (benchmarks\.\w+))(?=\s|$)")
# How a line begins that is for a shell, and calls something else.
OTHER = re.compile(r"(?:make|pip|tfds|sbatch|gcloud|kubectl|scontrol|until|\.venv/bin/\w+|\.) \S")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)


class Command(NamedTuple):
    """A command, and the page and line on which it begins."""

    page: str
    line: int
    words: list[str]
    stored: list[str]  # config and data set, where a command leaves them to the checkpoint of the commands above it

    def __str__(self):
        return f"{self.page}:{self.line}"


def name(path):
    return path.relative_to(ROOT).as_posix()


def source(page):
    """The text of a page without the blocks that are files; lines keep their numbers."""
    return RECIPE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text(encoding="utf-8"))


def commands(page):
    """Every command of this repository's programs on a page: in blocks, indented or fenced, and in inline code."""
    number, lines, above = 0, source(page).splitlines(), {}
    while number < len(lines):
        first, line = number, lines[number]
        while line.rstrip().endswith("\\") and number + 1 < len(lines):
            number += 1
            line = line.rstrip()[:-1] + " " + lines[number].strip()
        for part in inline_code(lines, first) if "`" in line and not line.startswith("    ") else [line]:
            found = PROGRAM.search(part)
            if found:
                words = words_of(part[found.start() :])
                workdir = next((word for word in words if word.startswith("--workdir=")), None)
                of_run = [word for word in words if word.startswith(("--config=", "--config.data.dataset="))]
                above |= {workdir: of_run} if of_run else {}
                yield Command(name(page), first + 1, words, [] if of_run else above.get(workdir, []))
        number += 1


def inline_code(lines, first):
    """Inline code that begins on a line; it may continue on the next."""
    paragraph = itertools.takewhile(str.strip, lines[first : first + 2])
    text = " \0".join(paragraph)  # \0: where the next line begins, on which other commands are found by themselves
    for found in re.finditer(r"`([^`]+)`", text):
        if "\0" not in text[: found.start()]:
            yield found[1].replace("\0", "")


def words_of(text):
    """The words of a shell command, up to what ends it; `...` and brackets of what may be left out are dropped."""
    text = re.split(r"\s[&;|#]|;|\s->", text)[0]
    text = text.rsplit("'", 1)[0] if text.count("'") % 2 else text  # the command was an argument in quotes
    return [word.strip("[]") for word in shlex.split(text) if word != "..."]


def other_lines(page):
    """Lines for a shell that do not begin with one of the programs: all in fences of `sh`, elsewhere by `OTHER`."""
    text = source(page)
    for _, language, body in FENCE.findall(text):
        if language == "sh":
            yield from (line for line in logical_lines(body) if not PROGRAM.match(line))
    lines = FENCE.sub("", text).splitlines()
    for number, line in enumerate(lines):
        parts = [line.strip()] if line.startswith("    ") else inline_code(lines, number)
        yield from (without_comment(part) for part in parts if OTHER.match(part))


def logical_lines(body):
    """The commands of a fence: lines that go on are joined, as are loops; comments and empty lines are dropped."""
    joined = re.sub(r"^until .*?^done$", lambda loop: loop[0].replace("\n", " "), body, flags=re.M | re.S)
    lines = re.sub(r"\\\n", " ", joined).splitlines()
    return [line for line in map(without_comment, lines) if line]


def without_comment(line):
    return re.sub(r"\s+", " ", re.sub(r"(^|\s)#.*", "", line)).strip()


COMMANDS = [command for page in PAGES for command in commands(page)]
OTHERS = list(dict.fromkeys(line for page in PAGES for line in other_lines(page)))
