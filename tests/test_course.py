"""The map of the notebooks is true."""

from pathlib import Path
from xml.etree import ElementTree as ET

from nasviz.course import LESSONS, course_map

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def test_every_lesson_follows_those_it_builds_on():
    seen: set[str] = set()
    for lesson in LESSONS:
        assert set(lesson.after) <= seen, lesson.stem
        seen.add(lesson.number)
    assert len(seen) == len(LESSONS)


def test_every_notebook_is_on_the_map():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} <= {lesson.stem for lesson in LESSONS}


def test_exactly_the_written_lessons_are_links(tmp_path):
    (tmp_path / "06_penalty.ipynb").touch()
    root = ET.fromstring(course_map(tmp_path))
    assert [a.get("href") for a in root.iter("{http://www.w3.org/2000/svg}a")] == ["06_penalty.ipynb"]


def test_no_two_boxes_overlap():
    root = ET.fromstring(course_map())
    boxes = [
        tuple(float(rect.get(name)) for name in ("x", "y", "width", "height"))
        for rect in root.iter("{http://www.w3.org/2000/svg}rect")
        if rect.get("x")
    ]
    assert len(boxes) == len(LESSONS)
    for k, (x, y, w, h) in enumerate(boxes):
        for x2, y2, _, _ in boxes[k + 1 :]:
            assert abs(x - x2) >= w or abs(y - y2) >= h
