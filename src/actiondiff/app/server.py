"""Serve the page, by default to this machine only, from a temporary folder that is removed at the end."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from actiondiff.app.options import LOCAL, PageOptions
from actiondiff.errors import MissingExtraError, UsageError
from actiondiff.evaluation.verdict import ChanceVerdict
from actiondiff.inference.model import ActionDiff
from actiondiff.outputs import try_lock

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp

__all__ = [
    "ANY_HOST",
    "OpenPage",
    "hold",
    "listen",
    "make_server",
    "open_page",
    "page_folder",
    "remove_leftovers",
    "run_page",
    "serve",
]

_HERE = Path(__file__).parent
_PREFIX = "actiondiff-page-"
_LOCK = "page.lock"
ANY_HOST = ("0.0.0.0", "::")
_QUIET = ("ANALYTICS_ENABLED", "SHARE", "MCP_SERVER", "SSR_MODE", "RUN_HISTORY")
_PATIENCE_SECONDS = 2  # time that open connections have to close when the page ends


@dataclass(frozen=True)
class OpenPage:
    """A page that listens for requests.

    Attributes:
        server: The HTTP server.
        listening: The socket that it listens on.
        address: Address of the page.
        folder: Temporary folder of uploads and visits.
    """

    server: "uvicorn.Server"
    listening: socket.socket
    address: str
    folder: Path

    def run(self) -> None:
        """Answer requests until the server is stopped."""
        self.server.run([self.listening])


def serve(
    model: ActionDiff,
    *,
    name: str,
    card: str = "",
    verdict: ChanceVerdict | None = None,
    options: PageOptions | None = None,
) -> None:
    """Serve the page until it is interrupted, and remove everything that visitors uploaded.

    Args:
        model: The trained model.
        name: Name of the model on the page.
        card: The model card, as Markdown.
        verdict: The model's own test score; None if it is not to be shown.
        options: Options of the page.

    Raises:
        MissingExtraError: If gradio is not installed.
        UsageError: If the address or the port cannot be used.
    """
    run_page(open_page(model, name=name, card=card, verdict=verdict, options=options))


def run_page(page: AbstractContextManager[OpenPage]) -> None:
    """Open a page and serve it until it is interrupted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that temporary files are removed
    with page as opened:
        print(f"The page is at {opened.address} (Ctrl-C ends it).", flush=True)
        with suppress(KeyboardInterrupt):
            opened.run()


@contextmanager
def open_page(
    model: ActionDiff,
    *,
    name: str,
    card: str = "",
    verdict: ChanceVerdict | None = None,
    options: PageOptions | None = None,
) -> Iterator[OpenPage]:
    """Open a page that listens, and remove its files at the end; see `serve`."""
    if find_spec("gradio") is None:
        raise MissingExtraError("actiondiff app", "app")
    options = options or PageOptions()
    with listen(options) as listening, page_folder() as folder:
        os.environ |= {f"GRADIO_{variable}": "False" for variable in _QUIET}
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
        app = _build(model, name, card, verdict, options, folder)
        yield make_server(app, listening, options, folder)


@contextmanager
def page_folder() -> Iterator[Path]:
    """A temporary folder for a page, which is removed at the end; those of killed pages are removed now."""
    temporary = Path(tempfile.gettempdir())
    remove_leftovers(temporary)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name, hold(Path(name)):
        yield Path(name)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the lock that says that a page uses a folder; it ends with the process, also if that is killed."""
    lock = try_lock(folder / _LOCK)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def remove_leftovers(temporary: Path) -> None:
    """Remove the folders of pages that were killed: this user's, with a lock that no process holds."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            is_ours = os.name != "posix" or folder.lstat().st_uid == os.getuid()
            if folder.is_symlink() or not is_ours or not (folder / _LOCK).is_file():
                continue
            lock = try_lock(folder / _LOCK)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()


def make_server(app: "ASGIApp", listening: socket.socket, options: PageOptions, folder: Path) -> OpenPage:
    """A server of an application on a socket that listens."""
    import uvicorn

    from actiondiff.app.connections import PatientProtocol

    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_PATIENCE_SECONDS,
    )
    host = f"[{options.host}]" if ":" in options.host else options.host
    port = listening.getsockname()[1]
    return OpenPage(uvicorn.Server(config), listening, f"http://{host}:{port}/", folder)


def listen(options: PageOptions) -> socket.socket:
    """A socket that listens on the address of the options.

    Raises:
        UsageError: If the address or the port cannot be used.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {options.host} port {options.port}: {error.strerror}. Give another --port "
            "(0 takes a free one) or --host."
        ) from None


def _build(
    model: ActionDiff,
    name: str,
    card: str,
    verdict: ChanceVerdict | None,
    options: PageOptions,
    folder: Path,
) -> "FastAPI":
    """The application: the page behind its filter, and the files of visitors."""
    import gradio as gr
    from fastapi import FastAPI
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, Response

    from actiondiff.app.gate import Gate
    from actiondiff.app.page import build_page
    from actiondiff.app.uploads import Uploads
    from actiondiff.app.visits import Visits

    visits, uploads = Visits(folder / "visits"), Uploads(folder / "uploads", options.quotas)

    def send_file(request: Request) -> Response:
        path = visits.find(request.path_params["token"], request.path_params["name"])
        if path is None:
            return PlainTextResponse("This file does not exist, or no longer exists.", 404)
        response = FileResponse(path, filename=path.name, content_disposition_type="inline")
        response.headers["Cache-Control"] = "no-store"
        return response

    hosts = () if options.host in ANY_HOST else {*LOCAL, options.host}
    gate = Middleware(Gate, hosts=hosts, uploads=uploads, visits=visits)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, middleware=[gate])
    app.add_route("/files/{token}/{name:path}", send_file)
    fonts = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Arial", "sans-serif")
    theme = gr.themes.Default(primary_hue="blue", neutral_hue="slate", font=fonts, font_mono="monospace")
    theme.set(body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400")
    page = build_page(
        model, card, name=name, visits=visits, uploads=uploads, verdict=verdict, options=options
    )
    page.has_launched = True  # otherwise gradio does not check that the files it is given were uploaded
    return gr.mount_gradio_app(
        app,
        page,
        path="",
        server_name=options.host,
        max_file_size=options.quotas.most_of_video,
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        footer_links=[],
        theme=theme,
        css=(_HERE / "page.css").read_text("utf-8"),
        head=f"<script>{(_HERE / 'page.js').read_text('utf-8')}</script>",
    )
