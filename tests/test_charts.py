"""Charts: the static picture shows the same data as the plotly figure."""

import re
from xml.etree import ElementTree as ET

import plotly.graph_objects as go
import pytest

from nasviz.charts import Slider, chart, explore, figure, svg_chart


def _points(svg: str) -> list[tuple[float, float]]:
    path = re.search(r'<path d="([^"]+)"', svg).group(1)
    return [tuple(map(float, pair.split(","))) for pair in re.findall(r"[-\d.]+,[-\d.]+", path)]


def test_a_line_keeps_its_proportions():
    fig = figure("t", "x", "y").add_trace(go.Scatter(x=[0, 1, 2], y=[0.0, 1.0, 4.0]))
    (x0, y0), (x1, y1), (x2, y2) = _points(svg_chart(fig))
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert (y0 - y2) / (y0 - y1) == pytest.approx(4, rel=0.02)  # pixels grow downwards


def test_a_log_axis_spaces_decades_evenly_and_skips_what_has_no_logarithm():
    fig = figure(xaxis={"type": "log"}).add_trace(go.Scatter(x=[0.0, 0.1, 1.0, 10.0], y=[5.0, 1.0, 2.0, 3.0]))
    svg = svg_chart(figure(xaxis={"type": "log"}).add_trace(go.Scatter(x=[0.1, 1.0, 10.0], y=[1.0, 2.0, 3.0])))
    places = [x for x, _ in _points(svg)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.2)
    assert len(_points(svg_chart(fig))) == 3


def test_a_gap_in_the_data_is_a_gap_in_the_line():
    svg = svg_chart(figure().add_trace(go.Scatter(x=[0, 1, 2, 3], y=[0.0, float("nan"), 1.0, 2.0])))
    assert re.search(r'<path d="([^"]+)"', svg).group(1).count("M") == 2


def test_bars_stand_on_zero_with_heights_in_proportion():
    svg = svg_chart(figure().add_trace(go.Bar(x=["a", "b"], y=[1.0, 3.0])))
    heights = [float(h) for h in re.findall(r'<rect x="[^>]*height="([\d.]+)"', svg)]
    assert heights[1] / heights[0] == pytest.approx(3, rel=0.01)


def test_names_reach_the_picture_as_text():
    svg = svg_chart(figure("<script>").add_trace(go.Bar(x=["<b>", "ok"], y=[1, 2])))
    ET.fromstring(svg)
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg


def test_an_unknown_trace_is_named():
    with pytest.raises(TypeError, match="'pie'"):
        svg_chart(figure().add_trace(go.Pie(labels=["a"], values=[1])))


def test_static_chart_has_no_widget(monkeypatch):
    monkeypatch.setenv("NASVIZ_STATIC", "1")
    fig = figure().add_trace(go.Scatter(x=[0, 1], y=[0, 1]))
    assert set(chart(fig, "see")._repr_mimebundle_()) == {"image/svg+xml", "text/plain"}


def test_a_slider_redraws_the_figure_in_place_and_shows_its_errors():
    def draw(slope: float):
        if slope > 2:
            raise ValueError("too steep")
        return figure(f"slope {slope:g}").add_trace(go.Scatter(x=[0.0, 1.0], y=[0.0, slope]))

    shown = explore(draw, "what to see", slope=Slider(1, 0, 3, 0.1))
    slider, plot, trouble, _ = shown.widget().children
    slider.value = 2.0
    assert plot.data[0].y[1] == 2.0
    assert plot.layout.title.text == "slope 2"
    slider.value = 3.0
    assert "too steep" in trouble.value
    with pytest.raises(ValueError, match="'slop'"):
        shown(slop=1)


def test_a_chart_under_sliders_keeps_its_caption(monkeypatch):
    def draw(width: float):
        return chart(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}"/>', f"{width:g} wide")

    shown = explore(draw, width=Slider(10, 0, 30, 1))
    slider, box, *_ = shown.widget().children
    slider.value = 20.0
    assert 'width="20"' in box.value
    monkeypatch.setenv("NASVIZ_STATIC", "1")
    bundle = shown._repr_mimebundle_()
    assert bundle["text/plain"] == "10 wide"
    assert 'width="10"' in bundle["image/svg+xml"]


def test_a_slider_with_whole_steps_gives_whole_numbers():
    seen = []

    def draw(cells: float, width: float):
        seen.append(cells)
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{cells * width:g}"/>'

    cells, width, *_ = explore(draw, cells=Slider(20.0, 1, 24, 1), width=Slider(1, 0, 3, 0.5)).widget().children
    cells.value = 21
    width.value = 1.5
    assert seen == [20.0, 21, 21]
    assert (type(cells.value), type(width.value)) == (int, float)
