"""Self-contained HTML pages: a recording, or two side by side, that scrub in any browser without a kernel."""

from __future__ import annotations

import base64
import html as markup
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from nascore.errors import UserError, choose
from nascore.record import Recording
from nasviz import frames
from nasviz.svg import PANELS
from nasviz.widgets import BESIDE, difference, script, setup, style, whole

Theme = Literal["auto", "light", "dark"]


class Page(str):
    """The text of a page. As the value of a notebook's cell it is told in a line instead of printed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<a page of {len(self.encode()) / 1024:.0f} KiB>"


def html(
    recording: Recording | Sequence[Recording],
    path: str | Path | None = None,
    panels: Sequence[str] | None = None,
    theme: Theme = "auto",
    overwrite: bool = False,
    ghost: Recording | None = None,
) -> Page:
    """The page as text; also written to ``path`` if given. Several recordings stand side by side with one cursor.

    Args:
        recording: one run, or several.
        path: where to write the page, if anywhere.
        panels: what to show; None for everything that fits.
        theme: "auto" follows the reader's system.
        overwrite: replace a file that exists.
        ghost: another run, whose curves are drawn pale.

    Raises:
        UserError: an unknown theme or panel, a folder that does not exist, or a file that exists without ``overwrite``.
    """
    choose("theme", theme, ("auto", "light", "dark"))
    runs = [recording] if isinstance(recording, Recording) else list(recording)
    shown = panels if panels is not None else PANELS if len(runs) == 1 else BESIDE
    title = markup.escape(" and ".join(f"{run.meta.get('method')} on {run.meta.get('task')}" for run in runs))
    places = "".join(f"<main>{_embedded(run, shown, difference(run, runs), ghost)}</main>" for run in runs)
    text = Page(
        f'<!doctype html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_PAGE}{style()}</style></head><body>'
        f'{places}<script type="module">{script("page")}</script></body></html>'
    )
    if path is not None:
        _write(Path(path), text, overwrite)
    return text


_PAGE = (
    "body{margin:0;display:flex;flex-wrap:wrap;background:#fff}"
    "main{flex:1 1 520px;min-width:0;max-width:1700px;margin:0 auto}"
    ':root[data-theme="dark"] body{background:#111418}'
    '@media (prefers-color-scheme:dark){:root[data-theme="auto"] body{background:#111418}}'
)


def _embedded(recording: Recording, panels: Sequence[str], title: str, ghost: Recording | None) -> str:
    content: dict[str, Any] = {"setup": setup(recording, panels, title), "cursor": "page", **_packed(recording)}
    if ghost is not None:
        content["ghost"] = {"label": frames.ghost_label(recording, ghost), **_packed(ghost)}
    # "<" cannot end the script element from inside a JSON string when it is written as an escape.
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/nasviz+json">{text}</script>'


def _packed(recording: Recording) -> dict[str, Any]:
    message, tables = whole(recording)
    return {**message, "tables": [base64.b64encode(table).decode() for table in tables]}


def _write(path: Path, text: str, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise UserError(f"path: the folder {str(path.parent)!r} does not exist; make it first.")
    if path.exists() and not overwrite:
        raise UserError(f"path: {str(path)!r} exists; pass overwrite=True to replace it.")
    path.write_text(text, encoding="utf-8")
