"""The site in a browser: what it asks for, whether everybody can read it, and what its own scripts do."""

import contextlib
import functools
import json
import os
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from effdl.sources import ROOT

AXE = ROOT / "website" / "node_modules" / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.skipif(
        "SITE" not in os.environ, reason="make test-site looks at the whole site in a browser"
    ),
    pytest.mark.skipif(
        not AXE.exists(), reason="axe-core is not installed (make website/installed, which needs npm)"
    ),
]
SAMPLE = [
    "index.html",
    "claims.html",
    "progress.html",
    "search.html?q=roofline",
    "week01_intro/index.html",
    "week01_intro/lecture_2_models.html",
    "week07_inference_software/seminar.html",
    "homework/hw1_distributed/part2_data_parallel.html",
    "simulators/pipeline.html",
    "simulators/allreduce.html",
    "simulators/allocator.html",
    "simulators/batching.html",
    "simulators/paged.html",
    "simulators/cluster.html",
]
PHONE, LAPTOP, DESK = (390, 844), (1024, 768), (1300, 1000)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture(scope="module")
def address(site):
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def look(browser, size=DESK, dark=False):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def requests_of(browser) -> list[str]:
    """Addresses that the browser asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]


def test_no_page_asks_another_machine_for_anything(browser, address, pages):
    look(browser)
    requests_of(browser)
    asked = Counter()
    for name in pages:
        browser.get(f"{address}/{name}")
        asked.update(requests_of(browser))
    assert sum(asked.values()) > 5 * len(pages)  # the log counts
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [error for error in errors if "favicon.ico" not in error] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_break_no_rule_of_accessibility(browser, address, dark):
    look(browser, dark=dark)
    found = []
    for page in SAMPLE:
        browser.get(f"{address}/{page}")
        browser.execute_script(AXE.read_text(encoding="utf-8"))
        for violation in browser.execute_async_script(
            "const done = arguments[0];"
            "axe.run().then(found => done(found.violations), error => done([{id: String(error), nodes: []}]));"
        ):
            where = [node["target"][0] for node in violation["nodes"]]
            found.append((page, violation["id"], len(where), where[:3]))
    assert found == []


def test_a_rule_that_is_broken_would_be_found(browser, address):
    browser.get(f"{address}/index.html")
    browser.execute_script("document.querySelector('article').append(document.createElement('img'))")
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(one => one.id)))"
    assert "image-alt" in browser.execute_async_script(script)


@pytest.mark.parametrize("size", [PHONE, LAPTOP, DESK], ids=["phone", "laptop", "desk"])
def test_no_page_is_wider_than_its_window(browser, address, size):
    look(browser, size)
    wide = []
    for page in SAMPLE:
        browser.get(f"{address}/{page}")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > size[0]:
            wide.append((page, width))
    look(browser)
    assert wide == []


def test_the_search_finds_a_lecture(browser, address):
    browser.get(f"{address}/search.html?q=roofline")
    links = []
    for _ in range(100):
        links = browser.execute_script(
            "return [...document.querySelectorAll('ul.search li a')].map(link => link.getAttribute('href'))"
        )
        if links:
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert any("week01_intro/lecture_2_models.html" in link for link in links)


def drop(browser, *files: Path, name: str = "results-files") -> str:
    """Choose files on the page of claims, or on another by the name of its input; return what it says of them."""
    before = browser.execute_script(
        "window.before = document.getElementById('told').textContent; return before"
    )
    browser.find_element("id", name).send_keys("\n".join(map(str, files)))
    for _ in range(100):
        told = browser.find_element("id", "told").text
        if told and told != before and len(told.splitlines()) == len(files):
            return told
        browser.execute_async_script("setTimeout(arguments[0], 50)")
    raise AssertionError(f"the page says {told!r} of {files}")


def results_file(folder: Path, **claims) -> Path:
    """A results file of another machine, as `make record` would write it, with some claims changed."""
    data = json.loads((ROOT / "week01_intro/results/amd-epyc-25-17-avx512-2-cores.json").read_text("utf-8"))
    data["machine"]["kind"] = "Abacus <b>9000</b>"
    for key, entry in claims.items():
        data["notebooks"]["lecture"]["claims"][key.replace("_", "-")].update(entry)
    path = folder / "abacus.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def cell(browser, key: str, column: str):
    return browser.find_element(
        "css selector", f"table[data-week=week01_intro] tr[data-key='{key}'] .{column}"
    )


def test_a_dropped_results_file_fills_the_column_and_the_plots_and_is_not_sent(browser, address, tmp_path):
    look(browser)
    browser.get(f"{address}/claims.html")
    requests_of(browser)
    file = results_file(tmp_path, cache_over_memory={"measured": 1.25, "holds": False})
    told = drop(browser, file)
    assert "week 1" in told
    assert "Abacus <b>9000</b>" in told  # as text
    assert cell(browser, "lecture/cache-over-memory", "yours").text == "1.25x ✗"
    assert cell(browser, "lecture/cache-over-memory", "cpu").text.startswith("3.094x")
    marks = cell(browser, "lecture/cache-over-memory", "plot").find_elements("css selector", ".your-dot")
    assert len(marks) == 1
    assert [url for url in requests_of(browser) if not url.startswith("blob:")] == []
    browser.find_element("id", "forget").click()
    assert cell(browser, "lecture/cache-over-memory", "yours").text == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no JSON", "is not JSON"),
        ("null", "is no results file"),
        ('{"machine": {"kind": "x"}, "notebooks": {"lecture": 3}}', "is no results file"),
        ('{"machine": {"kind": "x"}, "notebooks": {}}', "holds no claim of this page"),
        (" " * (2**21 + 1), "is larger than 2 MiB"),
    ],
    ids=["text", "null", "number", "empty", "large"],
)
def test_a_file_of_something_else_gets_a_sentence(browser, address, tmp_path, text, says):
    browser.get(f"{address}/claims.html")
    file = tmp_path / "mine.json"
    file.write_text(text, encoding="utf-8")
    told = drop(browser, file)
    assert told.startswith("mine.json")
    assert says in told


@pytest.fixture
def progress(course, tmp_path):
    """The file that `grader progress --json` writes of a copy of homework 1 of which two exercises were checked."""
    from grader.course import Course
    from grader.examine.report import CheckResult, Report
    from grader.steps import done, workspace

    copy = tmp_path / "hw1_distributed"
    workspace.start(Course.load(course), "hw1_distributed", copy)
    part = workspace.find(copy).part(1)
    checks = [
        CheckResult(f"{n}", n, points, 2.0, "fail", "") for n, points in (("counting", 2.0), ("hogwild", 1.0))
    ]
    done.keep(copy, part, Report(checks), hidden=False)
    done.write_data(tmp_path / "progress.json", [copy])
    return tmp_path / "progress.json"


def test_a_dropped_progress_file_is_drawn_with_links_and_is_not_sent(browser, address, progress):
    look(browser)
    browser.get(f"{address}/progress.html")
    requests_of(browser)
    assert drop(browser, progress, name="progress-file").startswith("progress.json, written ")
    lines = browser.execute_script(
        "return [...document.querySelectorAll('#copies tbody tr')].map(row => row.textContent)"
    )
    assert "counting1.5/1.5done, by the public checks" in lines
    assert "hogwild1/2partly, by the public checks" in lines
    assert "cooccurrence0/1not checked yet ← next" in lines
    text = browser.find_element("id", "copies").text
    assert (
        "2.5 of 30 points; done: 1 of 21 exercises. Of the 27 hours that the texts tell to plan, about 2"
        in text
    )
    assert "check 1 --item cooccurrence" in browser.find_element("css selector", ".advice code").text
    links = browser.execute_script(
        "return [...document.querySelectorAll('#copies a')].map(link => link.getAttribute('href'))"
    )
    assert (
        links.count("homework/hw1_distributed/part1_glove.html") == 2
    )  # the part's, and that of what comes next
    for link in set(links):
        assert browser.execute_script("return fetch(arguments[0]).then(answer => answer.ok)", link)
    asked = [url for url in requests_of(browser) if not url.startswith("blob:")]
    assert {url.removeprefix(f"{address}/") for url in asked} == set(links)  # by this test, above
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    script = "const done = arguments[0]; axe.run().then(found => done(found.violations.map(one => one.id)))"
    for dark in (True, False):
        look(browser, dark=dark)
        assert browser.execute_async_script(script) == []
    look(browser, PHONE)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    look(browser)
    browser.find_element("id", "forget").click()
    assert browser.find_element("id", "copies").text == ""


def test_what_a_progress_file_says_is_text_and_leads_nowhere_else(browser, address, progress):
    data = json.loads(progress.read_text("utf-8"))
    data["copies"][0] |= {"assignment": "__proto__", "title": "<img src=x>", "advice": "<b>Next</b>"}
    data["copies"][0]["exercises"][0]["name"] = "<script>alert(1)</script>"
    progress.write_text(json.dumps(data), encoding="utf-8")
    browser.get(f"{address}/progress.html")
    drop(browser, progress, name="progress-file")
    found = browser.find_element("id", "copies")
    assert "<img src=x>" in found.text
    assert "<script>alert(1)</script>" in found.text
    assert found.find_elements("css selector", "img, script, a") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no JSON", "is not JSON"),
        ("null", "is no progress file"),
        ('{"1/counting": {"earned": 1}}', "is no progress file"),  # what the copy itself keeps
        ('{"format": "grader progress 9"}', "is of another version"),
        ('{"format": "grader progress 1", "copies": []}', "is damaged"),
        (
            '{"format": "grader progress 1", "copies": [{"exercises": [{"earned": 2, "worth": 1}]}]}',
            "is damaged",
        ),
        (" " * (2**20 + 1), "is larger than 1 MiB"),
    ],
    ids=["text", "null", "kept", "version", "none", "points", "large"],
)
def test_a_file_that_tells_of_no_progress_gets_a_sentence(browser, address, tmp_path, text, says):
    browser.get(f"{address}/progress.html")
    file = tmp_path / "mine.json"
    file.write_text(text, encoding="utf-8")
    told = drop(browser, file, name="progress-file")
    assert told.startswith("mine.json")
    assert says in told
    assert browser.find_element("id", "copies").text == ""


def test_another_cpu_can_be_chosen_and_kinds_can_be_left_out(browser, address):
    browser.get(f"{address}/claims.html")
    browser.execute_script(
        "const choice = document.getElementById('cpu-kind');"
        "choice.value = 'Intel Xeon, AVX512 AMX, 2 cores'; choice.dispatchEvent(new Event('change'))"
    )
    assert cell(browser, "lecture/cache-over-memory", "cpu").text == "7.139x"
    browser.find_element("css selector", ".choices input[value=measured]").click()
    assert not cell(browser, "lecture/cache-over-memory", "cpu").is_displayed()
    assert cell(browser, "lecture/ascending-lengths", "cpu").is_displayed()


def slide(browser, name: str, value) -> None:
    browser.execute_script(
        "const input = document.getElementById(arguments[0]);"
        "input.value = arguments[1]; input.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        str(value),
    )


def rows(browser, simulator: str) -> dict[str, list[str]]:
    """The table of a simulator's page: the first cell of each row, and the others."""
    cells = browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        ".map(row => [...row.children].map(cell => cell.textContent))",
        simulator,
    )
    return {first: others for first, *others in cells}


def test_the_sliders_of_the_pipeline_change_what_the_module_says(browser, address):
    from week04_large_models import schedules

    browser.get(f"{address}/simulators/pipeline.html")
    slide(browser, "pipeline-ranks", 5)
    slide(browser, "pipeline-micro", 20)
    slide(browser, "pipeline-transfer", 0.5)
    timeline = schedules.simulate(schedules.one_f_one_b(5, 20), 1, 2, 0.5)
    assert rows(browser, "pipeline")["1F1B"][1:3] == [f"{timeline.end:.4g}", f"{100 * timeline.bubble:.1f} %"]
    boxes = browser.find_elements("css selector", "#pipeline rect.forward, #pipeline rect.backward")
    assert len(boxes) == 2 * 5 * 20


def test_the_sliders_of_the_all_reduce_change_what_the_module_says(browser, address):
    browser.get(f"{address}/simulators/allreduce.html")
    slide(browser, "allreduce-ranks", 6)
    slide(browser, "allreduce-size", 20)
    ring = rows(browser, "allreduce")
    name = next(name for name in ring if name.startswith("ring"))
    assert ring[name][:2] == ["10", "10 MiB"]
    assert len(browser.find_elements("css selector", "#allreduce .arrow")) == 6


def test_the_buttons_of_the_allocator_allocate_and_free(browser, address):
    browser.get(f"{address}/simulators/allocator.html")
    slide(browser, "allocator-size", 20)
    browser.find_element("id", "allocator-malloc").click()
    slide(browser, "allocator-size", 21)
    browser.find_element("id", "allocator-malloc").click()
    found = rows(browser, "allocator")
    assert found["reserved (memory_reserved)"] == ["22 MiB"]
    browser.find_element("id", "allocator-free").click()
    assert rows(browser, "allocator")["live (memory_allocated)"] == ["2 MiB"]
    browser.find_element("id", "allocator-empty").click()
    assert rows(browser, "allocator")["reserved (memory_reserved)"] == ["20 MiB"]


def test_the_sliders_of_batching_change_steps_and_tokens_per_second(browser, address):
    browser.get(f"{address}/simulators/batching.html")
    for name, value in {"count": 8, "gap": 0, "output": 10, "step": 10, "row": 0, "lengths": "equal"}.items():
        slide(browser, f"batching-{name}", value)
    # Two batches of four that arrive at once and write ten tokens each: nobody's place is ever empty.
    found = rows(browser, "batching")
    assert found["static"] == found["continuous"] == ["0.06 s", "0.11 s", "0.01 s", "20", "400", "0.2 s"]
    boxes = browser.find_elements("css selector", "#batching rect.forward, #batching rect.backward")
    assert len(boxes) == 2 * 8 * 2
    places = browser.find_element("id", "batching-most")
    places.send_keys("\ue012")  # the left arrow: the keyboard is enough
    assert rows(browser, "batching")["static"][3] == "30"


def test_the_sliders_of_the_paged_cache_share_and_copy_blocks(browser, address):
    browser.get(f"{address}/simulators/paged.html")
    for name, value in {"prompts": 1, "answers": 4, "prompt": 32, "longest": 128, "written": 0}.items():
        slide(browser, f"paged-{name}", value)
    found = {name: cells[:2] for name, cells in rows(browser, "paged").items()}
    assert found == {
        "reserved for the longest answer": ["640", "512"],
        "blocks, nothing shared": ["128", "0"],
        "blocks, a prompt is shared": ["32", "0"],
    }
    said = "return document.querySelector('#paged p').textContent"
    slide(browser, "paged-written", 1)
    assert browser.execute_script(said).endswith(
        " 0 copied before a write."
    )  # the prompt ends with its block
    slide(browser, "paged-prompt", 40)
    assert browser.execute_script(said).endswith(" 3 copied before a write.")  # the last one owns the block


def test_the_choices_of_the_cluster_show_what_the_module_says(browser, address):
    from week02_distributed import cluster, policies

    browser.get(f"{address}/simulators/cluster.html")
    slide(browser, "cluster-policy", "backfilling")
    found = rows(browser, "cluster")
    assert list(found) == list(policies.RIGID)
    each = policies.simulate_each(policies.RIGID, [cluster.SIX_JOBS], cluster.Cluster(1, 4))
    for name, (result,) in each.items():
        assert found[name][0] == f"{result.completion.mean():.0f} s"
        assert found[name][4] == f"{result.makespan:.0f} s"
    gpus = sum(job.gpus for job in cluster.SIX_JOBS)
    assert len(browser.find_elements("css selector", "#cluster rect.job")) == gpus
    count = browser.find_element("id", "cluster-count")
    assert not count.is_enabled()  # the lecture's six are six
    slide(browser, "cluster-trace", "made")
    assert count.is_enabled()
    slide(browser, "cluster-machines", "2x4")
    labels = browser.find_elements("css selector", "#cluster .picture text")
    assert sum(label.text.startswith("GPU ") for label in labels) == 8


def test_the_dark_theme_is_chosen_by_the_system_and_by_the_button(browser, address):
    look(browser, dark=True)
    browser.get(f"{address}/index.html")
    shade = "return getComputedStyle(document.body).backgroundColor"
    dark = browser.execute_script(shade)
    button = next(one for one in browser.find_elements("css selector", ".theme-toggle") if one.is_displayed())
    seen = {dark}
    for _ in range(3):
        button.click()
        seen.add(browser.execute_script(shade))
    look(browser)
    with contextlib.suppress(Exception):
        browser.execute_script("localStorage.clear()")
    assert len(seen) == 2
