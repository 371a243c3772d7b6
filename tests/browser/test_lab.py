"""JupyterLab opens on the start notebook, as `make lab` has it."""

import pytest
from conftest import Lab
from playwright.sync_api import Page, expect


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
def test_a_picture_is_there_before_anything_runs(lab: Lab, page: Page) -> None:
    lab.open(page, "notebooks/00_start_here.ipynb")
    expect(page.locator(".jp-RenderedSVG").first).to_be_visible()
