"""A hook of `make docs`: adds README, CONTRIBUTING, and CHANGELOG to the site and rewrites their links.

In the repository a link is relative to the file that contains it, so that it works on a code host and in an editor. On
the site the three files are siblings of the pages of `docs/`.
"""

import pathlib
import posixpath
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parent.parent
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
# A Markdown link or image, except with a scheme or to an anchor of the same page.
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
IMAGE = re.compile(r'(<img [^>]*src=")docs/([^"]+)')  # HTML, which sets a size


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the three files of the repository's root."""
    for source, name in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrites the links of a page for the site; a link to a file that is not on the site becomes plain text."""
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

    return IMAGE.sub(r"\1\2", LINK.sub(rewrite, markdown))
