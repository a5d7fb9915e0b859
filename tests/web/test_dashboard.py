"""Every page of the dashboard in Debian's Chromium, against a real coordinator with a real sweep. Screenshots are kept in
HIVQ_SCREENSHOTS (default: the test's own folder)."""

import json
import os
import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SMALL, Coordinator, until
from playwright.sync_api import expect

COLOURED = """canvas => {
  const {width, height} = canvas, copy = new OffscreenCanvas(width, height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const data = copy.getImageData(0, 0, width, height).data;
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 0) colours.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
  return colours.size;
}"""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = Path(os.environ.get("HIVQ_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(chromium, coordinator):
    """What a page says on the console, or asks of another machine, fails its test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((coordinator.url, "data:", "blob:"))
            else complaints.append(request.url))
    yield page
    context.close()
    assert complaints == []


def drawn(page):
    """Every chart on the page shows more than axes: its pixels have many colours. A chart is drawn once it is in sight."""
    expect(page.locator(".chart:visible").first).to_be_attached()
    page.evaluate("""async () => {
      for (const chart of document.querySelectorAll('.chart')) {
        chart.scrollIntoView();
        await new Promise((done) => setTimeout(done, 100));
      }
    }""")
    canvases = page.locator(".chart canvas:visible")
    expect(canvases.first).to_be_visible()
    until(lambda: all(canvas.evaluate(COLOURED) > 8 for canvas in canvases.all()), 60)
    page.evaluate("scrollTo(0, 0)")
    return canvases.count()


def loaded(page):
    """Every picture on the page is there once it was in sight: its image has pixels, and its map colours."""
    heats = page.locator("canvas.heat")
    expect(heats.first).to_be_attached()
    page.evaluate("""async () => {
      for (const pane of document.querySelectorAll('.pane')) {
        pane.scrollIntoView({block: 'center'});
        await new Promise((done) => setTimeout(done, 30));
      }
    }""")
    until(lambda: page.evaluate("[...document.querySelectorAll('.pane img')].every((img) => img.complete && img.naturalWidth > 0)"), 30)
    until(lambda: all(heat.evaluate(COLOURED) > 8 for heat in heats.all()), 30)
    page.evaluate("scrollTo(0, 0)")


def accessible(page):
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found
            if each["impact"] in ("serious", "critical")] == []


PAGES = {
    "jobs": "#/jobs", "job": "#/jobs/1", "parameters": "#/jobs/1/params", "specification": "#/jobs/1/spec",
    "trial": "#/trials/1/0", "results": "#/trials/1/0/results", "images": "#/trials/1/0/images", "log": "#/trials/1/0/log",
    "checkpoints": "#/trials/1/0/checkpoints", "compare": "#/compare?trial=1/0&trial=1/3&trial=1/5",
    "cluster": "#/cluster", "submit": "#/submit",
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_page_is_there_accessible_and_fits_its_screen(page, coordinator, pictures, name, look):
    # Without motion: on its way from grey to blue, a button that has just been enabled has too little contrast for a moment.
    page.emulate_media(color_scheme="dark" if look == "dark" else "light", reduced_motion="reduce")
    if look == "phone":
        page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{coordinator.url}/{PAGES[name]}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("Loading").filter(visible=True)).to_have_count(0)
    if name in ("job", "parameters", "trial", "images", "compare", "cluster"):
        drawn(page)
    if name in ("images", "compare"):
        loaded(page)
    page.screenshot(path=pictures / f"{name}-{look}.png", full_page=True)
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page itself scrolls sideways"


def test_the_jobs_page_filters(page, coordinator):
    page.goto(f"{coordinator.url}/#/jobs")
    row = page.get_by_role("link", name="small", exact=True)
    expect(row).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("no such job")
    expect(row).to_have_count(0)
    page.keyboard.press("Control+A")
    page.keyboard.type("ada")
    expect(row).to_be_visible()
    page.get_by_label("State").select_option("failed")
    expect(row).to_have_count(0)


def test_a_sweeps_charts_are_drawn_and_its_table_sorts_and_selects(page, coordinator):
    page.goto(f"{coordinator.url}/#/jobs/1")
    expect(page.get_by_role("heading", name="Learning curves")).to_be_visible()
    assert drawn(page) >= 1
    boxes = page.get_by_role("checkbox", name="Select trial")
    expect(boxes).to_have_count(8)
    best = boxes.first.get_attribute("aria-label")
    ranked = coordinator.ask("/jobs/1/trials")["trials"]
    assert best == f"Select trial {ranked[0]['trial']}"
    page.get_by_role("textbox", name="Where").fill("train.lr > 0.005")
    page.get_by_role("textbox", name="Where").press("Enter")
    expect(boxes).to_have_count(4)
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.get_by_role("heading", level=1, name="Compare")).to_be_visible()
    drawn(page)


def test_parameters_have_importance_parallel_coordinates_and_scatter(page, coordinator):
    page.goto(f"{coordinator.url}/#/jobs/1/params")
    for heading in ("Importance", "Parallel coordinates", "Scatter", "Two parameters"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    assert drawn(page) >= 3


def test_a_trial_shows_curves_its_log_and_gives_its_checkpoint(page, coordinator):
    page.goto(f"{coordinator.url}/#/trials/1/0")
    drawn(page)
    page.get_by_role("tab", name="Checkpoints").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the checkpoint").first.click()
    assert Path(download.value.path()).stat().st_size > 1000
    page.get_by_role("button", name="Pin the checkpoint").first.click()
    expect(page.get_by_role("button", name="Unpin the checkpoint").first).to_be_visible()
    page.get_by_role("tab", name="Specification").click()
    expect(page.get_by_text("train.lr").first).to_be_visible()


def test_a_trial_shows_its_test_images_with_their_maps(page, coordinator):
    shown = coordinator.ask("/trials/1/0/pictures")["pictures"]
    assert [(each["class"], each["anomalous"]) for each in shown][:3] == [
        ("T-shirt/top", False), ("Trouser", False), ("Pullover", True)] and len(shown) == 10
    page.goto(f"{coordinator.url}/#/trials/1/0/images")
    loaded(page)
    figures = page.locator("figure.picture")
    expect(figures).to_have_count(10)
    for each in shown:
        figure = figures.filter(has_text=each["name"])
        expect(figure).to_contain_text(f"score {each['score']:.4f}" if each["score"] < 1000 else "score")
        expect(figure).to_contain_text("anomalous" if each["anomalous"] else "normal")
    expect(page.get_by_role("img", name="Heat from dark")).to_be_visible()

    heated = figures.first.locator(".pane").last
    slider = page.get_by_role("slider", name="Heat")
    before = heated.screenshot()
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_value("0")
    without = heated.screenshot()
    assert without != before, "the heat is over the image"
    page.keyboard.press("End")
    assert heated.screenshot() not in (before, without)
    page.reload()
    expect(page.get_by_role("slider", name="Heat")).to_have_value("100")

    page.get_by_label("Kind", exact=True).select_option("anomalous")
    expect(figures).to_have_count(8)
    page.get_by_label("Class", exact=True).select_option("Bag")
    expect(figures).to_have_count(1)
    page.get_by_label("Kind", exact=True).select_option("normal")
    expect(page.get_by_text("No picture of this class and kind.")).to_be_visible()
    page.get_by_label("Class", exact=True).select_option("Trouser")
    page.get_by_role("button", name="Enlarge").press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Class Trouser, normal, score")
    accessible(page)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_figure_2_is_a_command_until_it_is_drawn(page, coordinator, tmp_path):
    page.goto(f"{coordinator.url}/#/trials/1/3/images")
    expect(page.get_by_text("hivq figures 1/3", exact=True)).to_be_visible()
    coordinator.run("figures", "1/3", "--steps", "10", "--out", tmp_path / "drawn")
    page.reload()
    figure = page.get_by_role("img", name="Figure 2 of trial 1/3")
    figure.scroll_into_view_if_needed()
    expect(figure).to_be_visible()
    until(lambda: figure.evaluate("img => img.complete && img.naturalWidth > 200"), 30)
    accessible(page)


def test_trials_are_compared_by_their_test_images(page, coordinator):
    page.goto(f"{coordinator.url}/#/compare?trial=1/0&trial=1/5")
    loaded(page)
    table = page.get_by_role("region", name="Test images")
    expect(table.locator("tbody tr")).to_have_count(10)
    expect(table.locator("canvas.heat")).to_have_count(20)


def test_a_mistake_shows_its_line_and_a_mended_job_goes_out(page, coordinator):
    page.goto(f"{coordinator.url}/#/submit")
    editor = page.get_by_label("Specification in YAML")
    wrong = SMALL.format(name="from-the-page", epochs=1).replace("batch_size: 16", "batch_sise: 16")
    editor.fill(wrong)
    mistake = page.get_by_text("train.batch_sise is an unknown key; did you mean train.batch_size?")
    expect(mistake.first).to_be_visible()
    line = wrong[: wrong.index("batch_sise")].count("\n") + 1
    expect(page.locator("#mistakes")).to_contain_text(str(line))
    editor.fill(wrong.replace("batch_sise", "batch_size"))
    expect(mistake).to_have_count(0)
    page.get_by_role("button", name="Submit", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("from-the-page")
    job = coordinator.ask("/jobs?name=from-the-page")["jobs"][0]["job"]
    expect(page).to_have_url(f"{coordinator.url}/#/jobs/{job}")


def test_live_updates_arrive_and_stop_works(page, coordinator):
    job = coordinator.submit("long", epochs=100_000)
    page.goto(f"{coordinator.url}/#/jobs/{job}")
    until(lambda: coordinator.state(job) == "running", 120)
    head = page.locator("main .head")
    expect(head).to_contain_text("running")
    page.get_by_role("button", name=f"Priority of job {job}").click()
    page.get_by_role("dialog").get_by_label("Priority").fill("12")
    page.get_by_role("dialog").get_by_role("button", name="Set it").click()
    expect(head.locator("dt", has_text="priority").locator("+ dd")).to_have_text("12")
    assert coordinator.ask(f"/jobs/{job}")["priority"] == 12
    page.goto(f"{coordinator.url}/#/jobs")
    page.get_by_role("button", name=f"Stop job {job}").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    until(lambda: coordinator.state(job) == "cancelled", 30)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=str(job), exact=True))
    expect(row).to_contain_text("cancelled")


def test_keys_lead_from_page_to_page(page, coordinator):
    page.goto(f"{coordinator.url}/#/jobs")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    for keys, heading in (("gc", "Cluster"), ("gs", "Submit a job"), ("gj", "Jobs")):
        page.locator("main").focus()
        for key in keys:
            page.keyboard.press(key)
        expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_coordinator_that_is_gone_is_told_and_so_is_its_return(chromium, tmp_path):
    """In a context of its own: requests that fail are what is looked at."""
    own = Coordinator(tmp_path)
    page = chromium.new_page()
    page.goto(f"{own.url}/#/jobs")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    own.end()
    expect(page.locator("#lost")).to_be_visible(timeout=60_000)
    before, own = own.url, Coordinator(tmp_path)
    assert until(lambda: own.url == before, 5)
    expect(page.locator("#lost")).to_be_hidden(timeout=60_000)
    page.close()
    own.end()


def test_ten_thousand_trials_are_there_within_two_seconds(page, coordinator):
    """Interactive: the table scrolls and sorts. No gang fits them, so that they wait."""
    spec = SMALL.format(name="large", epochs=1).replace("{ranks: 1}", "{ranks: 1, labels: {pool: nowhere}}")
    spec = spec[: spec.index("sweep:")] + "sweep: {search: random, trials: 10000, parameters: {train.lr: {uniform: [1.0e-4, 0.1]}}}\n"
    job = coordinator.ask("/jobs?key=large", spec)["job"]
    page.goto(f"{coordinator.url}/#/jobs/{job}")
    expect(page.get_by_role("checkbox", name="Select trial").first).to_be_visible()
    begin = time.monotonic()
    page.reload()
    expect(page.get_by_role("checkbox", name="Select trial").first).to_be_visible()
    seconds = time.monotonic() - begin
    print(f"a sweep of 10,000 trials: interactive after {seconds:.2f} s")
    assert seconds < 10, "far beyond the goal of 2 s, which the line above compares"
    coordinator.ask(f"/jobs/{job}/cancel", "")


def run_study(coordinator):
    """Eleven trials have ended and one runs: as a program of one's own has them."""
    job = coordinator.ask("/studies?user=ada", "name: tuned\nstudy: {trials: 20, metric: loss, goal: minimize, seed: 1}\n")["job"]
    post = lambda path, **body: coordinator.ask(path, json.dumps(body), "application/json")
    for i in range(12):
        asked = post(f"/studies/{job}/ask", key=f"trial {i}")
        trial, lease = f"/trials/{asked['trial']}", asked["lease"]
        x = float(post(f"{trial}/suggest", lease=lease, name="x", range={"uniform": [0, 1]})["value"])
        if i % 2:
            post(f"{trial}/suggest", lease=lease, name="kind", range=["linear", "square"])
        for epoch in range(1, 9):
            post(f"{trial}/report", lease=lease, points=[{"step": epoch, "metrics": {"loss": x + 1 / epoch, "size": epoch}}])
        if i < 11:
            post(f"{trial}/end", lease=lease, state="finished")
    return job


def test_a_study_shows_without_gangs_and_checkpoints(page, coordinator, pictures):
    job = run_study(coordinator)
    page.goto(f"{coordinator.url}/#/jobs/{job}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("tuned")
    expect(page.get_by_role("cell", name=f"{job}/3", exact=True).or_(page.get_by_role("link", name=f"{job}/3", exact=True)).first).to_be_visible()
    assert drawn(page) >= 1
    page.screenshot(path=pictures / "study.png", full_page=True)
    accessible(page)
    page.goto(f"{coordinator.url}/#/jobs/{job}/params")
    drawn(page)
    page.goto(f"{coordinator.url}/#/trials/{job}/3")
    drawn(page)
    tabs = page.get_by_role("tab")
    expect(tabs).to_have_text(["Curves", "Results", "Parameters"])
    page.screenshot(path=pictures / "study-trial.png", full_page=True)
    tabs.nth(1).click()
    expect(page.get_by_role("tabpanel").filter(visible=True)).to_contain_text("loss")
    tabs.nth(2).click()
    expect(page.get_by_role("row", name="kind")).to_contain_text("[linear, square]")
    page.screenshot(path=pictures / "study-parameters.png", full_page=True)
    accessible(page)
    page.goto(f"{coordinator.url}/#/compare?trial={job}/1&trial={job}/3")
    expect(page.get_by_text("loss").first).to_be_visible()
    assert page.locator(".failure").count() == 0
    coordinator.ask(f"/jobs/{job}/cancel", "")
