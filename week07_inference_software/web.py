"""The page where a network runs in the browser: a small server for its files, and a browser that a program drives.

    python -m week07_inference_software.web --port 8080

`make week07_inference_software/browser/installed` fetches the two runtimes by npm, as `package-lock.json` names them.
"""

import argparse
import base64
import contextlib
import functools
import io
import shutil
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from effdl.services import free_ports
from week07_inference_software import serving

FOLDER = Path(__file__).parent / "browser"
MODULES = FOLDER / "node_modules"
NEEDS_PACKAGES = "the page's packages (make week07_inference_software/browser/installed, which needs npm)"
NEEDS_BROWSER = "Chromium with the page's packages"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".onnx": "application/octet-stream",
    ".bin": "application/octet-stream",
}
# The only files that are served, of some thousand that npm brings.
RUNTIMES = {
    "/runtime/ort.mjs": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "/runtime/ort-wasm-simd-threaded.wasm": "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm",
    "/runtime/ort-wasm-simd-threaded.mjs": "onnxruntime-web/dist/ort-wasm-simd-threaded.mjs",
    "/runtime/tf-core.js": "@tensorflow/tfjs-core/dist/tf-core.min.js",
    "/runtime/tf-layers.js": "@tensorflow/tfjs-layers/dist/tf-layers.min.js",
    "/runtime/tf-cpu.js": "@tensorflow/tfjs-backend-cpu/dist/tf-backend-cpu.min.js",
}
PAGES = ("index.html", "style.css", "page.mjs", "engines.mjs", "prepare.mjs")
MODELS = ("model.onnx", "tfjs/model.json", "tfjs/weights.bin")


def packages_installed() -> bool:
    """Whether npm has fetched the runtimes."""
    return all((MODULES / path).exists() for path in RUNTIMES.values())


def browser_installed() -> bool:
    """Whether there is a page to open, a browser, its driver, and selenium. Nothing is ever downloaded for it."""
    try:
        import selenium.webdriver  # noqa: F401
    except ImportError:
        return False
    return packages_installed() and bool(_browser() and shutil.which("chromedriver"))


def _browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None)


def write_models(folder: Path) -> None:
    """The network in both formats that the page loads."""
    from week07_inference_software import digits

    model = digits.trained()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(digits.onnx_bytes(model))
    digits.write_tfjs(folder / "tfjs", digits.tfjs_weights(weights))


class Site:
    """Serves the page on 127.0.0.1; `sent` counts the bytes of each path. `models` may be exchanged at any time."""

    def __init__(self, models: Path, port: int = 0):
        self.models = models
        self.sent: Counter[str] = Counter()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), functools.partial(_Files, self))
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def file(self, path: str) -> Path | None:
        """The file of a path, or None: a table, so that no path leads out of it."""
        pages = {f"/{name}": FOLDER / name for name in PAGES}
        models = {f"/models/{name}": self.models / name for name in MODELS}
        runtimes = {name: MODULES / file for name, file in RUNTIMES.items()}
        found = (pages | models | runtimes).get("/index.html" if path == "/" else path)
        return found if found is not None and found.is_file() else None


class _Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *arguments):
        self.site = site
        super().__init__(*arguments)

    def do_GET(self):
        path = self.path.partition("?")[0]
        file = self.site.file(path)
        body = file.read_bytes() if file else b"no such file"
        self.send_response(200 if file else 404)
        self.send_header("Content-Type", TYPES[file.suffix] if file else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        # With these two a page may use threads: memory that several of them share needs an isolated origin.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.end_headers()
        self.wfile.write(body)
        if file:
            self.site.sent[path] += len(body)

    def log_message(self, *_):
        """Print nothing."""


@contextlib.contextmanager
def site(models: Path) -> Iterator[Site]:
    """The page on a free port, served by a thread of this process while the block lasts."""
    found = Site(models)
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()
        thread.join()


class Tab:
    """A browser tab with the page in it."""

    def __init__(self, driver: Any, address: str):
        self.driver, self.address = driver, address
        self.open()

    def open(self) -> None:
        """Load the page anew, engines and all."""
        self.driver.get(self.address)
        self._wait("return typeof window.lab === 'object'")

    def _wait(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, serving.PATIENCE, 0.02).until(lambda driver: driver.execute_script(script))

    def script(self, body: str, *arguments: Any) -> Any:
        """What an async JavaScript function with this body returns for these arguments. Raises RuntimeError."""
        wrapped = (
            "const done = arguments[arguments.length - 1], given = Array.from(arguments).slice(0, -1);"
            "(async (...args) => {" + body + "})(...given)"
            ".then((value) => done({value}), (error) => done({error: String(error)}));"
        )
        answer = self.driver.execute_async_script(wrapped, *arguments)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer.get("value")

    def run(self, engine: str, batch: np.ndarray) -> np.ndarray:
        """The scores (n, 10) float32 of a batch (n, 1, 8, 8) by "onnx" or "tfjs". Raises RuntimeError."""
        found = self.script("return window.lab.run(...args)", engine, batch.ravel().tolist(), len(batch))
        return np.array(found, np.float32).reshape(len(batch), 10)

    def prepare(self, rgba: np.ndarray, source: str = "") -> np.ndarray:
        """The network's input (64,) float32 for a drawing, by the page's `prepare` or by the body of another."""
        decode = "const rgba = Uint8ClampedArray.from(atob(args[0]), (c) => c.charCodeAt(0));"
        call = f"((rgba, width, height) => {{{source}}})" if source else "window.lab.prepare"
        packed = base64.b64encode(np.ascontiguousarray(rgba)).decode()
        height, width = rgba.shape[:2]
        found = self.script(
            f"{decode} return Array.from({call}(rgba, args[1], args[2]))", packed, width, height
        )
        return np.array(found, np.float32)

    def times(self, batch: np.ndarray, rounds: int = 15) -> dict[str, np.ndarray]:
        """Milliseconds of a batch by each engine, in alternating rounds, on the clock of the tab."""
        body = """
            const [numbers, size, rounds] = args, times = {onnx: [], tfjs: []};
            const once = async (name) => {
                const began = performance.now();
                await window.lab.run(name, numbers, size);
                return performance.now() - began;
            };
            for (const name of ["onnx", "tfjs", "tfjs", "onnx"]) await once(name);
            for (let i = 0; i < rounds; i++)
                for (const name of i % 2 ? ["onnx", "tfjs"] : ["tfjs", "onnx"]) times[name].push(await once(name));
            return times;"""
        found = self.script(body, batch.ravel().tolist(), len(batch), rounds)
        return {name: np.array(values) for name, values in found.items()}

    def draw(self, strokes: Sequence[Sequence[tuple[float, float]]]) -> tuple[int, np.ndarray]:
        """Draw with the mouse: the digit that then stands on the page, and the pixels (256, 256, 4) uint8.

        Strokes are lines through points between 0 and 1, x to the right and y down.
        """
        from PIL import Image
        from selenium.webdriver import ActionChains

        pad = self.driver.find_element("id", "pad")
        self.driver.find_element("id", "clear").click()
        chain = ActionChains(self.driver, duration=0)
        for stroke in strokes:
            (x, y), *others = [(round(256 * (x - 0.5)), round(256 * (y - 0.5))) for x, y in stroke]
            chain.move_to_element_with_offset(pad, x, y).click_and_hold()
            for x, y in others:
                chain.move_to_element_with_offset(pad, x, y)
            chain.release()
        chain.perform()
        self._wait("return document.getElementById('answer').textContent !== '?'")
        answer = int(self.driver.find_element("id", "answer").text)
        url = self.driver.execute_script("return document.getElementById('pad').toDataURL()")
        image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        return answer, np.asarray(image.convert("RGBA"))

    def screenshot(self) -> np.ndarray:
        """What the browser shows, (height, width, 3) uint8."""
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.driver.get_screenshot_as_png())).convert("RGB"))


@contextlib.contextmanager
def tab(address: str) -> Iterator[Tab]:
    """Chromium without a screen and without a network but this machine's own, with the page loaded."""
    from selenium import webdriver
    from selenium.webdriver.common.proxy import Proxy, ProxyType
    from selenium.webdriver.remote.client_config import ClientConfig

    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = _browser()
        for flag in (
            *("headless=new", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
            *("disable-background-networking", "disable-component-update", "window-size=760,640"),
            *("disable-dev-shm-usage", "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
            *(
                "no-sandbox",
                "no-proxy-server",
            ),  # neither root nor a container has the sandbox; the page is ours
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        server = f"http://127.0.0.1:{port}"
        with serving.running([shutil.which("chromedriver") or "", f"--port={port}"], f"{server}/status"):
            direct = ClientConfig(server, proxy=Proxy({"proxyType": ProxyType.DIRECT}))
            driver = webdriver.Remote(server, options=options, client_config=direct)
            try:
                driver.set_page_load_timeout(serving.PATIENCE)
                driver.set_script_timeout(serving.PATIENCE)
                yield Tab(driver, address)
            finally:
                driver.quit()


def command(port: int) -> list[str]:
    """The command line of the page's server."""
    return serving.module("web", "--port", port)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    port = parser.parse_args().port
    if not packages_installed():
        parser.error(f"this needs {NEEDS_PACKAGES}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the folder goes, too
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        write_models(Path(folder))
        found = Site(Path(folder), port)
        print(f"{found.address}  (Ctrl-C ends it)", flush=True)
        found.server.serve_forever()


if __name__ == "__main__":
    main()
