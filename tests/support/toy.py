"""A system beside its config file, in a folder outside of the project, whose files it must leave as they are."""

import hashlib
import shutil

from tests.support.paths import ROOT

SOURCES = ("*.py", "*.md", "*.html", "*.toml", "*.txt")


def lay(folder):
    """Puts the system, its config file `experiment.py` and a sweep `two.py` into `folder`."""
    shutil.copy(ROOT / "tests" / "support" / "absorbing.py", folder / "absorbing.py")
    (folder / "experiment.py").write_text("from absorbing import get_config\n\n__all__ = ['get_config']\n")
    (folder / "two.py").write_text("def get_sweep(): return [{'seed': 1}, {'optim.lr': 1e-2}]\n")


def digests():
    """The SHA-256 of every source file of the project."""
    files = [path for pattern in SOURCES for path in ROOT.rglob(pattern)]
    own = [path for path in files if not any(part.startswith((".", "runs")) for part in path.relative_to(ROOT).parts)]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in own}
