"""The built book, looked at in a real browser: complete, quiet, legible, and on its own host.

The first test that needs the book builds it, without a warning, into ``_build``; later runs reuse
it while its sources are unchanged. Where there is no Chromium the browser checks are skipped.
"""

import functools
import hashlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
STRICT = ["--warningiserror", "--nitpick", "--keep-going"]


def extension(name: str):
    """One of the book's own Sphinx extensions, as a module."""
    found = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


links = extension("repository_links")
tables = extension("measured_tables")


def run_jupyter_book(
    folder: Path, *options: str, **environment: str
) -> subprocess.CompletedProcess:
    """Build the book of a folder, as `make book` does."""
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(folder), *STRICT, *options]
    variables = {**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables, encoding="utf-8")


def fingerprint() -> str:
    """A digest of everything that the built book depends on."""
    files = [ROOT / "_config.yml", ROOT / "_toc.yml"]
    for folder, pattern in [("book", "**/*"), ("notebooks", "*.ipynb"), ("results", "*.json")]:
        files += [
            path
            for path in (ROOT / folder).glob(pattern)
            if path.is_file() and "__pycache__" not in path.parts
        ]
    digest = hashlib.sha256(str(links.repository_name(os.environ, ROOT)).encode())
    for path in sorted(files):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def book() -> Path:
    """The folder of the built book, built anew and without a warning if its sources changed."""
    seal, wanted = HTML.parent / "sources.sha256", fingerprint()
    if not (seal.exists() and seal.read_text() == wanted and (HTML / "index.html").exists()):
        built = run_jupyter_book(ROOT, "--all", "--quiet")
        assert built.returncode == 0, f"the book does not build:\n{built.stderr[-6000:]}"
        seal.write_text(wanted)
    return HTML


@pytest.fixture(scope="session")
def address(book):
    """A server of the book on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            return

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(book))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield opened
        opened.close()


class Visit:
    """A page of the book, opened with every other host cut off; collects what goes wrong."""

    def __init__(self, browser, address: str, **options):
        self.address, self.errors, self.outside = address, [], []
        self.context = browser.new_context(
            **{"viewport": {"width": 1300, "height": 950}, "color_scheme": "light", **options}
        )
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.route("**/*", self.let_through)

    def let_through(self, route):
        if route.request.url.startswith((self.address, "data:", "blob:")):
            route.continue_()
        else:
            self.outside.append(route.request.url)
            route.abort()

    def open(self, page: str):
        self.page.goto(f"{self.address}{page}.html", wait_until="networkidle")
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


@pytest.fixture
def visit(browser, address):
    with Visit(browser, address) as opened:
        yield opened


STILL = "*, *::before, *::after { animation: none !important; transition: none !important; }"
MISSING_ALT = """images => images
    .filter(x => x.alt.trim().split(/\\s+/).length < 3 || /_images|\\.(png|svg)/.test(x.alt))
    .map(x => `${x.getAttribute("src")}: ${JSON.stringify(x.alt)}`)"""


# Code is coloured by the kind of word: blocks that show no new kind need no second look.
MARK_REPEATED_CODE = """blocks => {
    const known = new Set();
    for (const block of blocks) {
        const kinds = [...block.querySelectorAll("span[class]")].map(x => x.className);
        if (kinds.every(kind => known.has(kind))) block.setAttribute("data-again", "");
        kinds.forEach(kind => known.add(kind));
    } }"""


def violations(page, contrast: bool) -> list[str]:
    """What axe-core finds serious or critical, each with the first element that it concerns.

    Either the contrast of the colours, which depends on the theme, or everything else.
    """
    from axe_playwright_python.sync_playwright import Axe

    only = {"runOnly": ["color-contrast"]}
    rest = {"rules": {"color-contrast": {"enabled": False}}}
    answer = Axe().run(
        page,
        context={"exclude": [["[data-again]"]]} if contrast else None,
        options={"resultTypes": ["violations"], **(only if contrast else rest)},
    )
    return [
        f"{found['id']} ({found['impact']}): {found['nodes'][0]['html'][:200]}"
        for found in answer.response["violations"]
        if found["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", [*PAGES, "genindex", "search"])
def test_page_is_quiet_and_legible_in_light_dark_and_on_a_phone(visit, name):
    page = visit.open(name)
    assert not visit.errors and not visit.outside
    assert not page.eval_on_selector_all("main img", MISSING_ALT)
    assert not page.eval_on_selector_all(
        "mjx-merror", "broken => broken.map(x => x.title || x.textContent)"
    )

    page.add_style_tag(content=STILL)
    page.eval_on_selector_all("main details", "all => all.forEach(x => { x.open = true; })")
    assert not violations(page, contrast=False)
    page.eval_on_selector_all("main div.highlight", MARK_REPEATED_CODE)
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        assert not violations(page, contrast=True), theme
    filters = page.eval_on_selector_all(
        "main img", "images => images.map(x => getComputedStyle(x).filter)"
    )
    assert set(filters) <= {"none"}, "the dark theme falsifies the colours of figures"

    page.set_viewport_size({"width": 390, "height": 844})
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, f"on a phone the page scrolls sideways: it is {width} pixels wide"
    assert not visit.outside


FAULTS = """<p style="color: #c8c8c8; background: #fff">hardly legible</p><button></button>
<div class="highlight" data-again><span style="color: #c8c8c8">seen before</span></div>
<img src="_images/a.png" alt="_images/a.png">"""


def test_the_gate_sees_faults(visit):
    page = visit.open("search")
    page.evaluate("html => { document.querySelector('main').innerHTML = html; }", FAULTS)
    [faint] = violations(page, contrast=True)
    assert "color-contrast" in faint and "hardly legible" in faint
    assert any("button-name" in found for found in violations(page, contrast=False))
    assert page.eval_on_selector_all("main img", MISSING_ALT)
    page.evaluate("fetch('https://example.org/').catch(() => 0)")
    assert visit.outside == ["https://example.org/"]


def test_there_are_chapters_in_the_book():
    stored = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    assert stored and [f"notebooks/{stem}" for stem in stored] == CHAPTERS


def test_no_page_loads_a_script_twice_or_from_elsewhere(book):
    for name in PAGES:
        text = (book / f"{name}.html").read_text(encoding="utf-8")
        scripts = re.findall(r"<script\b[^>]*\bsrc=\"([^\"]+)\"", text)
        assert not [script for script in scripts if re.match(r"(https?:)?//", script)], name
        assert len(scripts) == len(set(scripts)), name
        assert not [script for script in scripts if "thebe" in script], name


def test_the_front_door_leads_to_the_welcome_page(book):
    assert f"url={TOC['root']}.html" in (book / "index.html").read_text(encoding="utf-8")


def test_search_finds_a_word(visit):
    page = visit.page
    page.goto(f"{visit.address}search.html?q=panoptic", wait_until="networkidle")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "all => all.map(x => x.href)")
    assert any("glossary" in target or "notebooks/" in target for target in found)
    assert not visit.errors and not visit.outside


def test_the_theme_button_changes_the_theme_and_is_remembered(visit):
    page = visit.open(TOC["root"])
    theme = "document.documentElement.dataset.theme"
    seen = {page.evaluate(theme)}
    for _ in range(2):
        page.locator("button.theme-switch-button:visible").first.click()
        seen.add(page.evaluate(theme))
    assert seen == {"light", "dark"}
    chosen = page.evaluate("document.documentElement.dataset.mode")
    page.reload(wait_until="networkidle")
    assert page.evaluate("document.documentElement.dataset.mode") == chosen


LOOK = """option => {
    const style = (element, pseudo) => { const s = getComputedStyle(element, pseudo);
        return [s.color, s.backgroundColor, s.borderLeftColor, s.fontWeight, s.content]; };
    const summary = option.querySelector("summary");
    return JSON.stringify([style(option), style(summary), style(summary, "::before")]); }"""


@pytest.mark.parametrize("name", CHAPTERS)
def test_quiz_and_solutions_keep_their_secret_until_they_are_opened(visit, name):
    page = visit.open(name)
    page.add_style_tag(content=STILL)
    options = page.locator("details.quiz")
    assert options.count() >= 15
    assert page.locator("details.quiz[open]").count() == 0
    first = {
        page.locator(f"details.quiz.{kind}").first.evaluate(LOOK) for kind in ("right", "wrong")
    }
    assert len(first) == 1, "closed options can be told apart"

    opened = []
    for kind, mark in [("right", "✓"), ("wrong", "✗")]:
        option = page.locator(f"details.quiz.{kind}").first
        option.locator("summary").click()
        assert option.locator("p").first.is_visible()
        opened.append(option.evaluate(LOOK))
        assert mark in opened[-1]
    assert opened[0] != opened[1]

    solution = page.locator("details.solution").first
    assert page.locator("details.solution[open]").count() == 0
    assert not solution.locator("pre").is_visible()
    solution.locator("summary").focus()
    page.keyboard.press("Enter")
    solution.locator("pre").wait_for(state="visible")


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_download_button_gives_the_notebook(book, name):
    text = (book / f"{name}.html").read_text(encoding="utf-8")
    [target] = re.findall(r"<a href=\"([^\"]+\.ipynb)\"[^>]*btn-download-source-button", text)
    file = (book / name).parent / target
    given = nbformat.read(file.resolve(), as_version=4)
    assert given == nbformat.read(ROOT / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", CHAPTERS)
def test_colab_is_offered_where_the_repository_is_known_and_only_there(book, name):
    text = (book / f"{name}.html").read_text(encoding="utf-8")
    found = re.findall(r"https://colab\.research\.google\.com/github/[^\"]+", text)
    repository = links.repository_name(os.environ, ROOT)
    if repository is None:
        assert not found and "github.com/executablebooks/jupyter-book" not in text
    else:
        assert set(found) == {
            f"https://colab.research.google.com/github/{repository}/blob/main/{name}.ipynb"
        }


# ---------------------------------------------------------------- the extensions, on a small book


def small_book(folder: Path, page: str) -> Path:
    """A book with our configuration, one page of words and one chapter."""
    (folder / "notebooks").mkdir()
    (folder / "results").mkdir()
    for part in ("_ext", "_static"):
        shutil.copytree(
            ROOT / "book" / part,
            folder / "book" / part,
            ignore=shutil.ignore_patterns("__pycache__", "*.png"),
        )
    shutil.copyfile(ROOT / "_config.yml", folder / "_config.yml")
    (folder / "book" / "references.bib").write_text("@misc{nobody, title={None}, year={2026}}\n")
    (folder / "book" / "welcome.md").write_text(f"# Hello\n\n## A section\n\n{page}\n")
    chapters = "parts:\n- caption: One\n  chapters:\n  - file: notebooks/06_fcn\n"
    (folder / "_toc.yml").write_text(f"format: jb-book\nroot: book/welcome\n{chapters}")
    cells = [nbformat.v4.new_markdown_cell("# A network\n\n## The problem\n\nNone.")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "name": "python3"}
    nbformat.write(notebook, folder / "notebooks" / "06_fcn.ipynb")
    return folder


RUNTIMES = {"06_fcn": {"seconds": 61.4, "training_seconds": 44.0, "peak_gib": 1.25}}
MEASURED = {"classes": [{"name": "car", "iou": 0.51249}, {"name": "lamp", "iou": None}]}
WORDS = """{chapter}`06_fcn` and {chapter}`DETR <18_detr>` and {chapter}`07_unpooling`

```{runtimes}
```

```{measured} camvid_unet
:rows: classes
:columns: name = Class; iou = IoU
:digits: 2
```"""


def test_a_book_that_knows_its_repository(tmp_path):
    folder = small_book(tmp_path, WORDS)
    (folder / "results" / "runtimes.json").write_text(json.dumps({"chapters": RUNTIMES}))
    (folder / "results" / "camvid_unet.json").write_text(json.dumps(MEASURED))
    built = run_jupyter_book(folder, GITHUB_REPOSITORY="someone/a-course")
    assert built.returncode == 0, built.stderr[-4000:]
    html = folder / "_build" / "html"
    chapter = (html / "notebooks" / "06_fcn.html").read_text(encoding="utf-8")
    colab = "https://colab.research.google.com/github/someone/a-course/blob/main/notebooks"
    assert f"{colab}/06_fcn.ipynb" in chapter
    assert 'href="https://github.com/someone/a-course"' in chapter

    page = (html / "book" / "welcome.html").read_text(encoding="utf-8")
    assert "colab" not in page  # words cannot be run
    text = re.sub(r"<[^>]+>|\s+", " ", page)
    assert "DETR (chapter 18, planned)" in text and "07, planned" in text
    assert 'href="../notebooks/06_fcn.html"' in page
    cells = re.findall(r"<td[^>]*>\s*(?:<p>)?(.*?)(?:</p>)?\s*</td>", page, re.S)
    cells = [re.sub(r"<[^>]+>", "", cell) for cell in cells]
    expected = ["A network", "61 s", "44 s", "1.2 GiB", "All chapters so far", "1.0 min", "0.7 min"]
    assert cells == [*expected, "", "car", "0.51", "lamp", "–"]


ROW = {"miou": 0.71649, "boundary_f1": 0.5, "thin_iou": 0.25, "parameters": 12345, "step_ms": 87.6,
       "macs": 142_900_000, "peak_gib": 1.61,
       "runs": [{"miou": 0.70, "iou": {"lamp": 0.1, "person": 0.5}},
                {"miou": 0.73, "iou": {"lamp": 0.3, "person": 0.52}}]}  # fmt: skip
COMPARED = """```{comparison} scores
```

```{comparison} costs
```

```{comparison} classes
```

```{comparison-figure}
Two networks, "A" above B.
```"""


def test_networks_are_compared_in_tables_and_in_a_figure(tmp_path):
    folder = small_book(tmp_path, COMPARED)
    networks = {"a": ROW, "b": {**ROW, "miou": 0.6}}
    (folder / "results" / "architectures.json").write_text(json.dumps({"networks": networks}))
    published = {"title": "A", "miou": 82.6, "data": "cities", "origin": "paper"}
    nobody = {"title": "B", "miou": None, "data": "", "origin": ""}
    (folder / "book" / "published.json").write_text(json.dumps({"a": published, "b": nobody}))
    built = run_jupyter_book(folder, GITHUB_REPOSITORY="")
    assert built.returncode == 0, built.stderr[-4000:]
    page = (folder / "_build" / "html" / "book" / "welcome.html").read_text(encoding="utf-8")
    cells = re.findall(r"<td[^>]*>\s*(?:<p>)?(.*?)(?:</p>)?\s*</td>", page, re.S)
    assert cells[:6] == ["A", "0.716", "0.700–0.730", "82.6 %", "cities", "paper"]
    assert cells[9] == "–"
    assert cells[12:19] == ["A", "0.50", "0.25", "12,345", "143", "88 ms", "1.6 GiB"]
    assert cells[26:31] == ["A", "12,345", "0.716", "0.20", "0.51"]
    assert 'role="img" aria-label="Two networks, &quot;A&quot; above B."' in page
    [figure] = re.findall(r"<svg.*?</svg>", page[page.index('class="drawn"') :], re.S)
    assert "currentColor" in figure and "var(--pst-color-primary)" in figure
    assert not re.search(r"#0[1-6]0", figure)
    assert ">A<" in figure and ">B<" in figure


def test_a_network_that_nobody_published_or_measured_stops_the_book(tmp_path):
    folder = small_book(tmp_path, COMPARED)
    (folder / "results" / "architectures.json").write_text(json.dumps({"networks": {"a": ROW}}))
    (folder / "book" / "published.json").write_text("{}")
    built = run_jupyter_book(folder, GITHUB_REPOSITORY="")
    assert built.returncode == 1 and "a row has no 'a'" in built.stdout + built.stderr


def test_a_book_that_knows_nothing_has_no_dead_buttons_and_says_what_is_missing(tmp_path):
    folder = small_book(tmp_path, WORDS.replace("classes", "things"))
    (folder / "results" / "camvid_unet.json").write_text(json.dumps(MEASURED))
    built = run_jupyter_book(folder, GITHUB_REPOSITORY="")
    output = built.stdout + built.stderr
    assert built.returncode == 1
    assert "results/runtimes.json does not exist: run `make runtimes`" in output
    assert "results/camvid_unet.json has no 'things'" in output
    html = folder / "_build" / "html"
    assert "Not measured" in (html / "book" / "welcome.html").read_text(encoding="utf-8")
    chapter = (html / "notebooks" / "06_fcn.html").read_text(encoding="utf-8")
    assert "colab" not in chapter and "https://github.com/" not in chapter


@pytest.mark.parametrize(
    "result, place, complaint",
    [
        ({"a": {"b": 3}}, "a.b", "neither a list nor an object"),
        ({"a": [1, 2]}, "a", "neither a list nor an object"),
        ({"a": 1}, "a.b", "has no 'a.b'"),
        ({}, "rows", "has no 'rows'"),
    ],
)
def test_a_table_says_what_is_wrong_with_a_result(result, place, complaint):
    with pytest.raises(tables.Unmeasured, match=re.escape(complaint)):
        tables.rows_at(result, place, "results/x.json")


def test_rows_of_a_table():
    rows = tables.rows_at({"nets": {"fcn": {"miou": 0.5}, "unet": 3}}, "nets", "x")
    assert rows == [{"key": "fcn", "miou": 0.5}, {"key": "unet", "value": 3}]
    written = [tables.write(value, 2) for value in (0.5, 3, 31030658, None, "car")]
    assert written == ["0.50", "3", "31,030,658", "–", "car"]
    with pytest.raises(tables.Unmeasured, match="a row has no 'iou', only 'key', 'miou'"):
        tables.value_in(rows[0], "iou", "x")


def test_a_broken_result_is_reported(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "half.json").write_text('{"a": ')
    with pytest.raises(tables.Unmeasured, match=r"half\.json is not JSON"):
        tables.read_result(tmp_path, "half", "measure again")


@pytest.mark.parametrize(
    "address, name",
    [
        ("https://github.com/someone/a-course.git", "someone/a-course"),
        ("https://github.com/someone/a-course", "someone/a-course"),
        ("https://github.com/someone/a.course_2/", "someone/a.course_2"),
        ("https://user:word@github.com/someone/course.git", "someone/course"),
        ("git@github.com:someone/course.git", "someone/course"),
        ("ssh://git@github.com/someone/course.git", "someone/course"),
        ("https://gitlab.com/someone/course.git", None),
        ("https://github.com.evil.example/someone/course", None),
        ("https://example.org/github.com/someone/course", None),
        ("https://github.com/someone", None),
        ("/srv/git/course.git", None),
        ("", None),
    ],
)
def test_name_in_address(address, name):
    assert links.name_in_address(address) == name


def test_github_knows_better_than_git(tmp_path):
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init")
    assert links.repository_name({}, tmp_path) is None
    git("remote", "add", "origin", "git@github.com:someone/course.git")
    assert links.repository_name({}, tmp_path) == "someone/course"
    assert links.repository_name({"GITHUB_REPOSITORY": "fork/course"}, tmp_path) == "fork/course"
    assert links.repository_name({"GITHUB_REPOSITORY": "nonsense"}, tmp_path) == "someone/course"
    git("remote", "set-url", "origin", "https://gitlab.com/someone/course.git")
    assert links.repository_name({}, tmp_path) is None


def test_without_a_name_the_theme_is_told_of_no_repository():
    assert links.theme_options(None) == {
        "repository_url": "",
        "use_repository_button": False,
        "launch_buttons": {},
    }


# ---------------------------------------------------------------- the pages of words


def words(page: str) -> str:
    return (ROOT / "book" / f"{page}.md").read_text(encoding="utf-8")


def test_the_glossary_has_sixty_terms_in_two_languages():
    body = words("glossary").split(":sorted:")[1]
    entries = [entry.splitlines() for entry in body.split("\n\n") if "\n  " in entry]
    assert len(entries) >= 60
    for english, chinese, meaning, *more in entries:
        assert not more and meaning.startswith("  ") and len(meaning.split()) >= 6, english
        assert re.search(r"[\u4e00-\u9fff]", chinese), english
    names = [entry[0].lower() for entry in entries]
    assert len(names) == len(set(names))


NETWORKS = [
    "FCN-32s, 16s, 8s", "DeconvNet", "U-Net", "SegNet", "DeepLab v1", "PSPNet", "Mask R-CNN",
    "RefineNet", "G-FRNet", "DeepLab v2", "DeepLab v3", "DeepLab v3+", "Mask Scoring R-CNN", "DETR",
]  # fmt: skip
IDEAS = ["FC2CONV / FCN-8S-16S-32S", "使用了 UnPooling", "Concat 替换 Add", "增加了BN, 去掉了FC",
         "金字塔池化模块收集全局 feature"]  # fmt: skip


def test_the_history_keeps_every_row_of_the_page_it_grew_out_of():
    rows = re.findall(r"^\* - (.+)\n  - (.+)\n  - (.+)\n  - (.+)", words("history"), re.M)[1:]
    assert sorted(network for _, network, _, _ in rows) == sorted(NETWORKS)
    for when, network, paper, idea in rows:
        assert re.match(r"20\d\d \w+", when) and "{cite:t}" in paper, network
        assert len(idea.split()) >= 5, network
    assert not [idea for idea in IDEAS if idea not in words("history")]


READING = """
arxiv.org/pdf/1801.00868.pdf  blog.csdn.net/zziahgf/article/details/79063398
blog.csdn.net/yql_617540298/article/details/83143182
blog.csdn.net/weixin_38208741/article/details/80474813
blog.csdn.net/zxyhhjs2017/article/details/78603332  github.com/tangzhenyu/SemanticSegmentation_DL
divamgupta.com/image-segmentation/2019/06/06/deep-learning-semantic-segmentation-keras.html
blog.csdn.net/m0_37477175/article/details/83004746  zhuanlan.zhihu.com/p/38236530
www.cnblogs.com/kk17/p/10017224.html  zhuanlan.zhihu.com/p/37618829  zhuanlan.zhihu.com/p/31428783
github.com/scutan90/DeepLearning-500-questions  github.com/mrgloom/awesome-semantic-segmentation
arxiv.org/pdf/1704.06857.pdf  www.jeremyjordan.me/evaluating-image-segmentation-models
github.com/luwill/Semantic-Segmentation-Guide
"""


@pytest.mark.parametrize("target", READING.split())
def test_the_reading_list_is_kept_and_chinese_pages_are_marked(target):
    [line] = [line for line in words("references").splitlines() if f"https://{target}" in line]
    title = re.search(r"\[(.*?)\]\(https", line)[1]
    if re.search(r"[\u4e00-\u9fff]", title):
        assert "(中文)" in line


ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")
TEXTS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_what_a_chapter_cites_is_in_the_bibliography(text):
    listed = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    cited = text.read_text(encoding="utf-8")
    assert set(ARXIV.findall(cited)) <= set(ARXIV.findall(listed))
    keys = re.findall(r"`([a-z]+(?:19|20)\d\d[a-z0-9]*)`", cited)
    assert set(keys) <= set(re.findall(r"^@\w+\{([^,]+),", listed, re.M))
