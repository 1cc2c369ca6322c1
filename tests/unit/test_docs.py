"""The documentation is true: its code runs, its commands are accepted, its links lead somewhere."""

import argparse
import importlib
import pathlib
import re
import sys

import pytest
from absl import flags

from configs import default
from programs.flags import with_request
from tests.support.documented import COMMANDS, PAGES, name
from tests.support.flags import flags_of_main
from tests.support.paths import ROOT

# ml_collections reads a config file in a way that Python 3.12 will not have.
reads_configs = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
STAND_INS = {
    "CONFIG": "configs/vp/smoke.py",
    "HOST:PORT": "localhost:1234",
    "N": "2",
    "I": "0",
    "TASK": "unconditional",
}


def parse(words):
    """The config of a command for main.py, by main's own flags, as `main.parse` reads them."""
    known = dict(default.flatten(default.get_config()))
    own = flags_of_main(words)
    for word in words:
        key = word.lstrip("-").split("=")[0].removeprefix("no")
        assert not key.startswith("config.") or key.removeprefix("config.") in known, f"no setting {key}"
    rest = own(with_request(["main.py", *words]))
    assert rest == ["main.py"], f"no flags: {rest[1:]}"
    return own.config


def stand_in(word):
    """A word of a command with its placeholder replaced, where it must be something that exists."""
    flag, equals, value = word.partition("=")
    return f"{flag}={STAND_INS.get(value, value)}" if equals else STAND_INS.get(word, word)


def check_main(words, stored, monkeypatch):
    if all(word.startswith("--config.") for word in words):  # a mention of the program, not a command
        return
    config = [] if any(word.startswith("--config=") for word in [*stored, *words]) else ["--config=CONFIG"]
    words = [stand_in(word) for word in [*config, *stored, *words]]
    monkeypatch.chdir(ROOT)
    default.validate(parse(words))


class ParsedError(Exception):
    """The parser of a program has taken its flags."""


def check_benchmark(module, words, monkeypatch):
    """The benchmark's own parser takes the flags; nothing behind it is run."""

    program = importlib.import_module(module)
    if not hasattr(program, "argparse"):
        assert not words, f"{module} has no flags"
        return
    original = argparse.ArgumentParser.parse_args

    def parse_args(self):
        original(self)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", [module, *words])
    with pytest.raises(ParsedError):
        program.main()


def test_commands_are_found_in_blocks_over_lines_and_in_sentences():
    page = ROOT / "docs/tutorial.md"
    found = [command for command in COMMANDS if command.page == name(page)]
    assert [command.words[2:4] for command in found][-1] == ["--workdir=runs/tutorial", "--mode=sample"]
    assert found[-1].words[-1] == "--config.sampling.grid=log_snr"  # behind a continued line
    assert any(command.page == "README.md" and command.words[:2] == ["python", "-m"] for command in COMMANDS)


@reads_configs
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config=configs/vp/smoke.py", "--workdir=DIR", "--mode=train", "--config.optim.lrr=1"], "no setting"),
        (["--config=configs/vp/smoke.py", "--workdir=DIR"], "--mode must have a value"),
        (["--config=configs/vp/smoke.py", "--workdir=DIR", "--mode=trian"], "trian"),
        (["--config=configs/vp/smoke.py", "--workdir=DIR", "--mode=train", "--stat=A"], "stat"),
        (["--config=configs/vp/smoke.py", "--workdir=DIR", "--mode=train", "--config.optim.lr=-1"], "positive"),
    ],
)
def test_a_wrong_command_is_noticed(words, message, monkeypatch):
    with pytest.raises((AssertionError, ValueError, flags.Error), match=message):
        check_main(words, [], monkeypatch)


@reads_configs
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_accepted(command, monkeypatch):
    _, first, *rest = command.words
    if first == "-m":
        check_benchmark(rest[0], rest[1:], monkeypatch)
    elif first == "main.py":
        check_main(rest, command.stored, monkeypatch)
    else:
        assert (ROOT / first).exists(), f"{command}: there is no {first}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_pictures_exist(page):
    text = re.sub(r"^```.*?^```$|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), flags=re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{name(page)}: {target} has no such heading"


def test_the_tests_that_guard_the_deviations_exist():
    table = (ROOT / "docs/deviations.md").read_text(encoding="utf-8").split("\n## Settings\n")[0]
    rows = [line for line in table.splitlines() if line[:1] == "|"]
    for row in rows[2:]:
        guards = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert guards, row
        for file, function in guards:
            assert f"\ndef {function}(" in pathlib.Path(ROOT / file).read_text(encoding="utf-8"), f"{file}::{function}"


ROOMS = [
    page for page in sorted((ROOT / "docs/reference").glob("*.md")) if page.stem != "configs"
]  # which has settings


@pytest.mark.parametrize("page", ROOMS, ids=name)
def test_the_reference_has_every_module_of_a_room(page):
    listed = re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M)
    modules = {f"{page.stem}.{path.stem}" for path in (ROOT / page.stem).glob("*.py") if path.stem != "__init__"}
    assert set(listed) >= modules and len(listed) == len(set(listed))
