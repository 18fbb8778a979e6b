"""What MkDocs calls as it builds the site: it adds generated pages and files from outside docs/, and mends links."""

import unicodedata
from functools import cache
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import api_pages
import dictionary
import notebook_page
import stage_pages
from declared import REPOSITORY
from links import COPIES, in_the_site, indented, outside


@cache
def generated() -> dict[str, str]:
    """The generated pages, by their path on the site."""
    pages = {**stage_pages.pages(), **api_pages.pages()}
    return {**pages, "dictionary.md": dictionary.page(), "notebook.md": notebook_page.page()[0]}


def slug(heading: str, separator: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    kept = (c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LM" or c.isdecimal())
    return "".join(kept).replace(" ", separator)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the generated pages under Reference."""
    config.mdx_configs["toc"]["slugify"] = slug
    reference = next(section["Reference"] for section in config.nav if "Reference" in section)  # type: ignore[union-attr]
    reference += [{"Stages": list(stage_pages.pages())}, {"Library": list(api_pages.pages())}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the README as the front page, and what pages link to outside docs/."""
    files.append(File.generated(config, "index.md", abs_src_path=str(REPOSITORY / "README.md")))
    pages = list(files.documentation_pages())
    while pages:
        page = pages.pop()
        for target in outside(page.content_string, page.src_uri):
            if f"{COPIES}/{target}" not in files.src_uris and (REPOSITORY / target).is_file():
                copy = File.generated(config, f"{COPIES}/{target}", abs_src_path=str(REPOSITORY / target))
                files.append(copy)
                pages += [copy] if copy.is_documentation_page() else []
    for path, content in {**generated(), **notebook_page.page()[1]}.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn a page of the repository into one of the site; generated pages are so already."""
    path = page.file.src_uri
    return markdown if path in generated() else indented(in_the_site(markdown, path))
