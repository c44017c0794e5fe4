"""What mkdocs needs beyond mkdocs.yml: the pages that are not in docs/, and links that lead there.

The pages are written for GitHub; here a link to a file of the repository leads to its page of the site, where it has
one. README.md is the first page, and each program of examples/ a section of one.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.links import CODE, slug

if TYPE_CHECKING:  # what follows is tested without mkdocs
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
MOVED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
    "examples": "examples.md",
}
"""Where a file of the repository that is outside docs/ is in the site."""

ELSEWHERE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\s\"'>]+)")
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
OUTSIDE = re.compile(r"[a-z][a-z+.-]*:|#")
"""How a link begins that is an address, or an anchor of the page itself."""

NAMED = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the anchors of headings those of GitHub."""
    config.mdx_configs["toc"] = {**config.mdx_configs.get("toc", {}), "slugify": lambda text, _: slug(text)}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for name, there in MOVED.items():
        text = (ROOT / name).read_text() if name.endswith(".md") else examples()
        files.append(File.generated(config, there, content=text))
    return files


def examples() -> str:
    """Return the page of the programs in examples/."""
    parts = ["# Examples\n\nWhole programs, as they are in the folder `examples/`; the tests run each of them.\n"]
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = path.read_text()
        title = (ast.get_docstring(ast.parse(text)) or path.stem).splitlines()[0]
        parts.append(f"## {path.name}\n\n{title}\n\n```python\n{text}```\n")
    return "\n".join(parts)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn the links of a page, except those in code, to the site's own pages."""
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, there: str) -> str:
    """Return the text of the page ``there`` with its links turned; one to a file that the site lacks is its text."""
    origin = {to: name for name, to in MOVED.items()}.get(there, f"docs/{there}")
    parts, end = [], 0
    for code in (*CODE.finditer(markdown), None):
        start, after = code.span() if code else (len(markdown), len(markdown))
        text = NAMED.sub(lambda m: m[0] if is_there(m[2], origin) else m[1], markdown[end:start])
        parts.append(LINK.sub(lambda m: f"{m[1]}{target(m[2], origin, there)}{m[3]}", text))
        parts.append(markdown[start:after])
        end = after
    return "".join(parts)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuse a page that would load anything from another site."""
    from mkdocs.exceptions import PluginError

    if found := ELSEWHERE.search(output):
        raise PluginError(f"{page.file.src_uri} loads {found[1]} from elsewhere; the site must work without a network.")
    return output


def is_there(link: str, origin: str) -> bool:
    """Return whether the site has what a link of the file ``origin`` leads to: a page, or a file of docs/."""
    path = _path(link, origin)
    program = path.startswith("examples/") and path.endswith(".py")
    return bool(OUTSIDE.match(link)) or program or path in MOVED or path.startswith("docs/")


def _path(link: str, origin: str) -> str:
    """Return the path in the repository that a relative link of the file ``origin`` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), link.partition("#")[0]))


def target(link: str, origin: str, there: str) -> str:
    """Return a relative link of the file ``origin`` as a link of the page ``there`` of the site."""
    if OUTSIDE.match(link):
        return link
    path, (_, _, anchor) = _path(link, origin), link.partition("#")
    if path.startswith("examples/") and path.endswith(".py"):
        path, anchor = "examples", slug(posixpath.basename(path))
    found = MOVED.get(path, path.removeprefix("docs/"))
    relative = posixpath.relpath(found, posixpath.dirname(there) or ".")
    return f"{relative}#{anchor}" if anchor else relative
