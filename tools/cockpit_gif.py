"""Draw ``docs/cockpit.gif``, the picture of the README, from a shipped recording: ``python tools/cockpit_gif.py``.

Needs Chromium and Pillow (matplotlib brings it). Each frame is a screenshot of the self-contained page.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image, ImageColor
from playwright.sync_api import sync_playwright

from nascore.record import Recording
from nasviz import frames
from nasviz.page import html
from nasviz.theme import THEMES, colour

TARGET = Path(__file__).parents[1] / "docs" / "cockpit.gif"
SIZE = {"width": 1290, "height": 930}
FRAMES, WIDTH = 40, 900


def swatches(recording: Recording) -> Image.Image:
    """Every colour the page uses, at every depth it uses it: a palette that is fair to thin strands too."""
    ground = ImageColor.getrgb(THEMES["light"]["panel"])
    names = [*frames.space_of(recording).ops]
    inks = [colour(op) for op in names] + [THEMES["light"][name] for name in ("ink", "focus", "mark", "soft", "ghost")]
    depths = 20
    strip = Image.new("RGB", (depths + 1, len(inks)), ground)
    for row, ink in enumerate(map(ImageColor.getrgb, inks)):
        for step in range(depths + 1):
            share = step / depths
            strip.putpixel((step, row), tuple(round(a + share * (b - a)) for a, b in zip(ground, ink, strict=False)))
    strip.putpixel((0, 0), (255, 255, 255))
    return strip


def main() -> None:
    """Screenshots along the timeline, put together as an animation that stays longer on its last frame."""
    recording = Recording.open("digits-snas-dragged")
    browser_path = os.environ.get("NAS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    pictures = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        page_file = Path(folder) / "page.html"
        html(recording, page_file, theme="light")
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, reduced_motion="reduce")
        page.goto(page_file.as_uri())
        slider = page.get_by_role("slider", name="position")
        for k in range(FRAMES):
            slider.fill(str(round(k / (FRAMES - 1) * (len(recording) - 1))))
            slider.blur()
            page.wait_for_timeout(120)
            picture = Image.open(io.BytesIO(page.screenshot()))
            height = round(picture.height * WIDTH / picture.width)
            pictures.append(picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS))
        browser.close()
    palette = swatches(recording).quantize(256)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    TARGET.parent.mkdir(exist_ok=True)
    durations = [120] * (FRAMES - 1) + [2500]
    shown[0].save(TARGET, save_all=True, append_images=shown[1:], duration=durations, loop=0, optimize=True)
    print(f"{TARGET.name}: {FRAMES} frames, {TARGET.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
