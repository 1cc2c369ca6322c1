"""A hook of `make docs`: README, CONTRIBUTING and CHANGELOG are pages of the site, too, and links lead to them.

In the repository links are relative to the file that they are in, so that they work where it is read; the site has the
three beside the pages of `docs/`.
"""

import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")  # not those with a scheme, nor of this page alone


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the three files of the root."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of a page as the site has them; one to a file of the repository that the site has not becomes its text."""
    sources = {name: source for source, name in PAGES.items()}
    here = page.file.src_uri
    in_repository = sources.get(here, f"docs/{here}")

    def rewrite(match: re.Match[str]) -> str:
        image, text, target, anchor = match.groups(default="")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), target))
        if path not in PAGES and not path.startswith("docs/"):
            return text
        name = PAGES.get(path, path.removeprefix("docs/"))
        return f"{image}[{text}]({posixpath.relpath(name, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(rewrite, markdown)
