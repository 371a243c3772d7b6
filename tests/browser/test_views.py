"""The views on a self-contained page, in a real Chromium: what is painted, what controls say and do, and how fast."""

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, pixels
from playwright.sync_api import Locator, Page, expect
from test_frames import recorded

import nasviz
from nascore.record import Recording
from nascore.run import Knob
from nascore.space import DARTS, TOY
from nasviz import frames

METRICS = ("loss", "cost", "child_cost", "entropy", "lam_effective", "accuracy", "child_accuracy")
METRICS += ("child_accuracy_recalibrated", "random_child_accuracy")


def drifted(space, n, turn=0):
    """Probabilities [t, cell, edge, op] of logits that drift and shake, as in a search; *none* gains at last."""
    rng = np.random.default_rng(0)
    drift, logits, found = rng.normal(0, 0.02, space.shape), np.zeros(space.shape), []
    for t in range(n):
        logits += drift + rng.normal(0, 0.07, space.shape)
        logits[..., 0] += 0.015 * (t > turn)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        found.append(weights / weights.sum(-1, keepdims=True))
    return np.array(found, np.float32)


def search(space=TOY, n=120, turn=70, steps=160, **meta) -> Recording:
    """A recording with every metric, some measured rarely, and a penalty that was turned once."""
    rng = np.random.default_rng(1)

    def metrics(t):
        found = {"loss": 2 * np.exp(-t / 40) + 0.2 + rng.normal(0, 0.05), "cost": 0.7 - 0.004 * max(0, t - turn)}
        found |= {"child_cost": 0.6, "entropy": 1.5 * np.exp(-t / 100), "lam_effective": 0.5 * (t >= turn)}
        if t % 10 == 0:
            rise = 1 - np.exp(-t / 30)
            for k, name in enumerate(METRICS[5:]):
                found[name] = (0.9 - 0.06 * k) * rise
        return found

    recording = recorded(space, drifted(space, n, turn), {turn: {"lam": 0.5}} if turn < n else None, metrics)
    recording.meta.update({"metrics": {name: {"label": name} for name in METRICS}, "steps": steps, **meta})
    return recording


def opened(page: Page, tmp_path: Path, recording, **options) -> Locator:
    path = tmp_path / "page.html"
    nasviz.html(recording, path, **options)
    page.goto(path.as_uri())
    view = page.locator(".nasviz").first
    expect(view).to_have_attribute("data-pictures", re.compile(r"\d"))
    settle(page)
    return view


def settle(page: Page) -> None:
    """Wait until all that was asked for is painted, strands at rest."""
    page.wait_for_timeout(300)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def differ(a: np.ndarray, b: np.ndarray) -> float:
    """The share of pixels that changed."""
    return 1.0 if a.shape != b.shape else float((np.abs(a - b).max(-1) > 0.05).mean())


def live(page: Page, state: str = "running", **status) -> None:
    """Show the controls of a live run, and keep what they would tell the kernel in ``sent``."""
    page.evaluate(
        """([state, status]) => {
          const { store } = document.querySelector(".nasviz");
          window.sent = [];
          store.send = (name, payload) => sent.push([name, payload]);
          Object.assign(store, { live: true, status: { state, text: state, ...status } });
          store.setup.methods = ["darts", "random", "walk"];
          store.changed();
        }""",
        [state, status],
    )
    settle(page)


def sent(page: Page) -> list:
    settle(page)
    return page.evaluate("sent.splice(0)")


# ------------------------------------------------------------------------------------------------ what is painted


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
@pytest.mark.parametrize("width", [900, 1290, 1600])
@pytest.mark.parametrize("space", [TOY, DARTS], ids=lambda space: space.name)
def test_moving_the_cursor_repaints_every_panel_and_nothing_sticks_out(page: Page, tmp_path, space, width):
    page.set_viewport_size({"width": width, "height": 1000})
    view = opened(page, tmp_path, search(space), ghost=search(space, turn=1000))
    places = [view.get_by_role("region", name=name, exact=True) for name in ("cells", "curves", "edges over time")]
    before = [pixels(place) for place in places]
    view.get_by_role("slider", name="position").fill("30")
    settle(page)
    assert all(differ(one, pixels(place)) > 0.001 for one, place in zip(before, places, strict=True))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert overlapping_words(page) == []
    picture(page, f"views-{space.name}-{width}-{page.evaluate('matchMedia(`(prefers-color-scheme: dark)`).matches')}")


def overlapping_words(page: Page) -> list[str]:
    """Pairs of words on top of one another, labels of edges aside."""
    return page.evaluate(
        """() => {
          const words = ".nasviz :is(text:not(.label), h1, h2, button, .note, .where, .value)";
          const texts = [...document.querySelectorAll(words)]
            .filter((node) => node.textContent.trim() && node.getClientRects().length)
            .map((node) => [node.textContent, node.getBoundingClientRect()]);
          const clash = ([, a], [, b]) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1.5
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3.5;
          return texts.flatMap((one, k) => texts.slice(k + 1).filter((other) => clash(one, other))
            .map((other) => `${one[0]} / ${other[0]}`));
        }"""
    )


def test_widths_follow_the_probabilities_and_tabs_change_them(page: Page, tmp_path):
    recording = search(DARTS)
    view = opened(page, tmp_path, recording)
    step = recording[119]
    low, high = nasviz.theme.STRAND_WIDTH

    def widths():
        return page.evaluate(
            """() => [...document.querySelectorAll(".cell .edge")].map((edge) =>
              [...edge.querySelectorAll(".strand")].map((strand) => parseFloat(strand.style.strokeWidth)))"""
        )

    def wide(table):
        return (low + (high - low) * np.asarray(table)).reshape(28, 8)

    assert np.allclose(widths(), wide(step.probs), atol=0.01)
    view.get_by_role("tab", name="sample").click()
    settle(page)
    assert np.allclose(widths(), wide(step.gates), atol=0.01)
    view.get_by_role("tab", name="child").click()
    settle(page)
    assert np.allclose(widths(), wide(DARTS.one_hot(recording.graphs(119))), atol=0.01)
    view.get_by_role("tab", name="child").press("ArrowRight")
    expect(view.get_by_role("tab", name="distribution")).to_have_attribute("aria-selected", "true")
    expect(view.get_by_role("tab", name="distribution")).to_be_focused()


def test_what_a_scrub_repaints_does_not_grow_with_the_recording(page: Page, tmp_path):
    """How long that takes is measured by ``benchmarks/liveness.py``."""

    def changes(n):
        folder = tmp_path / str(n)
        folder.mkdir()
        opened(page, folder, search(DARTS, n=n, turn=n // 2, steps=n))
        return page.evaluate(
            """async (n) => {
              const root = document.querySelector(".nasviz"), counts = [];
              let changed = 0;
              const count = (seen) => {
                for (const one of seen) changed += 1 + one.addedNodes.length;
              };
              const observer = new MutationObserver(count);
              observer.observe(root, { subtree: true, childList: true, attributes: true, characterData: true });
              for (let k = 0; k < 21; k++) {
                changed = 0;
                root.store.cursor.move({ t: (k * 761) % n });
                await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                count(observer.takeRecords());
                counts.push(changed);
              }
              return counts.slice(1);
            }""",
            n,
        )

    short, long = changes(200), changes(2000)
    assert min(short) > 50  # each strand of the cells has another width, at least
    assert max(long) <= 1.2 * max(short)


def test_rows_that_arrive_one_by_one_paint_what_rows_at_once_paint(page: Page, tmp_path):
    recording = search()
    view = opened(page, tmp_path, recording)
    whole = pixels(view)
    pieces = [frames.rows(Recording.from_steps(recording[:n], recording.meta, recording.script()), start)
              for start, n in ((0, 1), (1, 50), (50, 119), (119, 120))]  # fmt: skip
    message = [[data, [list(table) for table in tables]] for data, tables in pieces]
    page.evaluate(
        """(pieces) => {
          const { store } = document.querySelector(".nasviz");
          store.load(store.rows.head);
          const view = (bytes) => new DataView(Uint8Array.from(bytes).buffer);
          for (const [data, tables] of pieces) store.append(data, tables.map(view));
        }""",
        message,
    )
    settle(page)
    assert differ(whole, pixels(view)) < 0.001


# ------------------------------------------------------------------------------------------------ cursor and edges


def test_one_cursor_moves_two_runs_side_by_side(page: Page, tmp_path):
    opened(page, tmp_path, [search(), search(seed=1)])
    first, second = page.locator(".nasviz").all()
    second.get_by_role("slider", name="position").fill("40")
    settle(page)
    expect(first).to_have_attribute("data-t", "40")
    expect(first.get_by_role("slider", name="position")).to_have_value("40")
    expect(second.locator("h1")).to_have_text("WALK on digits, seed 1")


def test_keys_scrub_play_and_pin(page: Page, tmp_path):
    view = opened(page, tmp_path, search())
    edge = view.get_by_role("button", name=re.compile("^normal k−2→0:"))
    edge.focus()
    page.keyboard.press("Enter")
    expect(edge).to_have_attribute("aria-pressed", "true")
    expect(view.get_by_role("heading", name="Pinned: normal k−2→0")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(view.get_by_role("button", name=re.compile("^normal k−1→0:"))).to_be_focused()
    for key, t in (("ArrowLeft", 118), ("Shift+ArrowLeft", 108), ("ArrowRight", 109), ("Home", 0), ("End", 119)):
        page.keyboard.press(key)
        expect(view).to_have_attribute("data-t", str(t))
    page.keyboard.press("Escape")
    expect(edge).to_have_attribute("aria-pressed", "false")
    view.locator("h1").click()  # where no control has its own use for a key
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    expect(view.get_by_role("button", name="Halt")).to_be_visible()
    expect(view).to_have_attribute("data-t", "119", timeout=20_000)
    expect(view.get_by_role("button", name="Play", exact=True)).to_be_visible()


def test_numbers_of_the_edge_one_points_at_are_those_of_the_recording(page: Page, tmp_path):
    recording = search()
    view = opened(page, tmp_path, recording)
    view.locator('.cell[data-cell="1"] .edge[data-edge="3"] .hit').dispatch_event("pointerenter")
    view.locator('.cell[data-cell="1"] .edge[data-edge="3"]').dispatch_event("click")
    settle(page)
    lines = view.locator(".numbers tr").all_inner_texts()[1:-1]
    wanted = frames.edge_numbers(recording, 119, 1, 3)
    assert len(lines) == len(wanted)
    for line, row in zip(lines, wanted, strict=True):
        name, p, credit, price = (cell.replace("−", "-") for cell in line.split("\t"))
        assert name == nasviz.theme.op_label(row["op"])
        assert float(p) == pytest.approx(row["p"], abs=0.006)
        assert float(credit) == pytest.approx(row["credit"], abs=0.006)
        assert float(price) == pytest.approx(-row["price"], abs=0.006)


def test_a_click_in_curves_or_ribbons_moves_the_cursor(page: Page, tmp_path):
    view = opened(page, tmp_path, search())
    for name in ("loss on training batches (nats)", "every edge over time"):
        place = view.get_by_role("img", name=name)
        box = place.bounding_box()
        place.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.5})
        settle(page)
        assert 20 < int(view.get_attribute("data-t")) < 80
        page.keyboard.press("End")


def test_the_notice_and_the_knobs_are_those_of_the_row_looked_at(page: Page, tmp_path):
    recording = search()
    view = opened(page, tmp_path, recording)
    for t, value in ((119, ".5"), (40, "0")):
        view.get_by_role("slider", name="position").fill(str(t))
        expect(view.locator(".notice")).to_have_text(f"Notice{frames.notice(recording, t)}")
        expect(view.get_by_role("slider", name="penalty")).to_have_attribute("aria-valuetext", value)
    expect(view.get_by_role("slider", name="penalty")).to_be_disabled()  # a page has nothing to steer
    expect(view.get_by_role("button", name="Run live")).to_be_hidden()


# ------------------------------------------------------------------------------------------------ live controls

PRESETS = {"none": {"knobs": {"lam": 0.0}}, "mild": {"knobs": {"lam": 0.15}, "means": "first edge lost"}}
KNOBS = {
    "lam": Knob(0.0, 0, 10, "penalty λ", log=True),
    "budget": Knob(1.0, 0, 1, "budget"),
    "schedule": Knob(1.0, 0, 1, "anneal the temperature", group="temperature", toggle=True),
    "tau": Knob(1.0, 0.03, 5, "temperature τ", log=True, group="temperature"),
    "tau_start": Knob(1.0, 0.03, 5, "temperature at the start", log=True, group="temperature"),
    "tau_end": Knob(0.1, 0.03, 5, "temperature at the end", log=True, group="temperature"),
}


def steerable() -> Recording:
    return search(knobs={name: asdict(knob) for name, knob in KNOBS.items()}, presets=PRESETS)


@pytest.mark.parametrize("width", [900, 1600])
def test_controls_fit_and_tell_the_kernel_what_was_done(page: Page, tmp_path, width):
    page.set_viewport_size({"width": width, "height": 1000})
    view = opened(page, tmp_path, steerable())
    live(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert overlapping_words(page) == []
    press = {"Pause": "pause", "Half step": "half_step", "Step": "step", "Stop": "stop", "Reset": "reset"}
    for name, command in press.items():
        view.get_by_role("button", name=name, exact=True).click()
        assert sent(page) == [[command, {}]]
    view.get_by_role("combobox", name="Speed").select_option("10 steps/s")
    assert sent(page) == [["speed", {"value": 10}]]
    live(page, "paused")
    view.get_by_role("button", name="Resume", exact=True).click()
    assert sent(page) == [["resume", {}]]
    live(page, "finished")
    view.get_by_role("button", name="Run live", exact=True).click()
    view.get_by_role("combobox", name="method").select_option("darts")
    view.get_by_role("spinbutton", name="seed").fill("3")
    view.get_by_role("spinbutton", name="seed").press("Enter")
    assert sent(page) == [["run", {}], ["method", {"name": "darts"}], ["seed", {"value": 3}]]


def test_a_slider_sends_its_newest_value_and_a_preset_all_of_its_knobs(page: Page, tmp_path):
    view = opened(page, tmp_path, steerable())
    live(page)
    slider = view.get_by_role("slider", name="penalty")
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 7, box["y"] + 9)
    page.mouse.down()
    for share in np.linspace(0.1, 0.6, 30):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 9)
    page.mouse.up()
    commands = sent(page)
    assert {name for name, _ in commands} == {"set"}
    assert commands[-1][1]["lam"] == pytest.approx(10 / 200 * np.sinh(0.6 * np.arcsinh(200)), rel=0.1)
    expect(slider).to_have_attribute("aria-valuetext", frames.brief(commands[-1][1]["lam"]))
    view.get_by_role("button", name="mild", exact=True).click()
    assert sent(page) == [["preset", {"name": "mild"}], ["set", {"lam": 0.15}]]
    expect(view.get_by_role("button", name="mild", exact=True)).to_have_attribute("aria-pressed", "true")
    view.get_by_role("button", name="hold", exact=True).click()
    assert sent(page) == [["set", {"schedule": 0, "tau": 1}]]
    expect(view.get_by_role("slider", name="budget")).to_have_attribute("aria-valuetext", "off")


def test_knobs_turned_while_looking_back_are_for_a_branch(page: Page, tmp_path):
    view = opened(page, tmp_path, steerable())
    live(page)
    view.get_by_role("slider", name="position").fill("40")
    settle(page)
    view.get_by_role("button", name="mild", exact=True).click()
    expect(view.get_by_role("slider", name="penalty")).to_have_attribute("aria-valuetext", ".15")
    assert [name for name, _ in sent(page)] == ["preset"]  # the search that is on is left alone
    view.get_by_role("button", name="Newest", exact=True).click()  # which drops what was meant for a branch
    expect(view.get_by_role("slider", name="penalty")).to_have_attribute("aria-valuetext", ".5")
    expect(view).to_have_attribute("data-t", "119")
    view.get_by_role("slider", name="position").fill("40")
    view.get_by_role("button", name="mild", exact=True).click()
    view.get_by_role("button", name="Branch", exact=True).click()
    assert sent(page)[1:] == [["branch", {"t": 40, "knobs": {"lam": 0.15}}]]


def test_trouble_is_shown_where_one_looks(page: Page, tmp_path):
    view = opened(page, tmp_path, steerable())
    live(page, "failed", error="RuntimeError: <b>the walk fell</b>")
    expect(view.get_by_role("alert")).to_have_text("RuntimeError: <b>the walk fell</b>")


# ------------------------------------------------------------------------------------------------ strangers

HOSTILE = '</script><script>window.broken = 1</script><img src=x onerror="window.broken = 1">'


def test_names_from_a_file_are_shown_and_not_obeyed(page: Page, tmp_path):
    knobs = {"lam": asdict(Knob(0.0, 0, 10, HOSTILE, help=HOSTILE, group=HOSTILE))}
    presets = {HOSTILE: {"knobs": {"lam": 1.0}, "means": HOSTILE}}
    recording = search(method=HOSTILE, task=HOSTILE, seed=HOSTILE, knobs=knobs, presets=presets, command=HOSTILE)
    recording.meta["metrics"][HOSTILE] = {"label": HOSTILE, "unit": HOSTILE}
    view = opened(page, tmp_path, recording)
    live(page, error=HOSTILE, method=HOSTILE)
    expect(view.locator("h1")).to_contain_text("onerror")
    assert page.evaluate("window.broken") is None
    assert page.locator("img[src], main script").count() == 0


def test_a_page_asks_nothing_of_the_net(page: Page, tmp_path):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, tmp_path, search())
    assert len(asked) == 1


def test_a_page_is_not_overwritten_unless_told(tmp_path):
    path = tmp_path / "page.html"
    text = nasviz.html(search(), path)
    assert len(repr(text)) < 40  # a notebook shows the value of its last line
    with pytest.raises(ValueError, match="exists; pass overwrite=True"):
        nasviz.html(search(), path)
    assert nasviz.html(search(), path, overwrite=True) == text
    with pytest.raises(ValueError, match="folder"):
        nasviz.html(search(), tmp_path / "missing" / "page.html")


# ------------------------------------------------------------------------------------------------ other kinds of probs


@pytest.mark.parametrize("page", ["light", "dark"], indirect=True)
@pytest.mark.parametrize("name", ["digits-nasp", "digits-asap", "digits-bayesnas"])
def test_probs_that_are_a_box_or_were_pruned(page: Page, tmp_path, name):
    """Words and strands follow ``meta["probs"]``; a pruned operation has no strand, and its number is *gone*."""
    recording = Recording.open(name)
    view = opened(page, tmp_path, recording)
    reading = frames.reading(recording)
    expect(view.get_by_role("tab").first).to_have_text(f"{reading.whole} {reading.symbol}")
    expect(view.locator(".ribbons")).to_contain_text(f"depth = {reading.depth}")
    expect(view.locator(".cells .legend")).to_contain_text(reading.strand)
    gone = frames.pruned(recording, len(recording) - 1)
    hidden = view.locator(".cell .strand").evaluate_all("all => all.map((it) => it.style.visibility === 'hidden')")
    assert hidden == gone.ravel().tolist()
    assert (gone.sum() > 0) == (name != "digits-nasp")
    view.locator('.cell[data-cell="0"] .edge[data-edge="0"]').dispatch_event("click")
    settle(page)
    words = [line.split("\t")[1] for line in view.locator(".numbers tr").all_inner_texts()[1:-1]]
    assert words.count("gone") == gone[0, 0].sum()
    assert view.locator(".numbers th").all_inner_texts()[1] == reading.symbol
    view.get_by_role("slider", name="position").fill("0")
    settle(page)
    assert (
        view.locator(".cell .strand").evaluate_all("all => all.some((it) => it.style.visibility === 'hidden')") is False
    )
    page.keyboard.press("End")
    settle(page)
