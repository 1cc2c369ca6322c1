"""The programs are tested on a network that compiles in a moment; see `tests.support.perceptron`."""

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

import main
from tests.support import perceptron
from tests.support.flags import flags_of_main


@pytest.fixture(autouse=True, scope="module")
def _perceptron() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        perceptron.register(patch)
        yield


class Done(NamedTuple):
    """What a command has left: its exit code, and what it said on the error stream."""

    code: int
    error: str


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`command_line("--mode=train", ...)` runs `main.py` with these flags in this process."""

    def run(*words: str) -> Done:
        monkeypatch.setattr(main, "FLAGS", flags_of_main(words))
        monkeypatch.setattr(main, "set_up", lambda: None)  # logging and the cache are those of the tests
        capsys.readouterr()
        with warnings.catch_warnings():
            # ml_collections reads a config file in a way that Python 3.12 will not have.
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
            try:
                code = main.main(main.parse(["main.py", *words]))
            except SystemExit as error:
                code = int(str(error.code))
        return Done(code, capsys.readouterr().err.strip())

    return run
