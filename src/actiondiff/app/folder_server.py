"""The page of an opened folder: its HTML, its videos, and the requests that read and change corrections."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from actiondiff import outputs
from actiondiff.app.corrections import CORRECTIONS, LABELS, PROJECT, BoutEdit, Correction, EditConflictError
from actiondiff.app.opened_folder import OpenedFolder, check_opened, choose_keys
from actiondiff.app.options import ABSTAIN, ABSTAIN_WORDS, CUTTING, LOCAL, PageOptions
from actiondiff.app.retraining import Retraining
from actiondiff.app.server import ANY_HOST, OpenPage, listen, make_server, page_folder
from actiondiff.errors import ActionDiffError, UsageError, explain_validation
from actiondiff.evaluation.verdict import verdict_of_run
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.options import TimelineOptions

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["build_folder_app", "open_folder_page"]

_FILES = Path(__file__).parent / "folder_page"
_LARGEST_EDIT = 20_000_000  # bytes


@contextmanager
def open_folder_page(
    model: ActionDiff,
    folder: Path,
    out: Path,
    *,
    run: Path,
    name: str,
    options: PageOptions,
    crops: Sequence[Path] = (),
    overwrite: bool = False,
) -> Iterator[OpenPage]:
    """Open the page of a folder; what it wrote stays, but for copies of videos that browsers do not play.

    Args:
        model: The trained model.
        folder: Folder with the videos.
        out: Folder for corrections, features and models that are trained on.
        run: Folder of the model.
        name: Name of the model on the page.
        options: Options of the page.
        crops: Crop files that are opened in place of the folder's videos, if any.
        overwrite: Whether a table or project that the page did not write may be replaced.

    Raises:
        UsageError: If the folder holds no video, the address or the port cannot be used, another page has the
            folder open, or `out` holds a table or project of another origin.
    """
    check_opened(folder)
    with (
        listen(options) as listening,
        page_folder() as scratch,
        outputs.claim(out, "app", [LABELS, PROJECT, f"{CORRECTIONS}/"], overwrite=overwrite),
    ):
        opened = OpenedFolder(model, folder, out, scratch, crops)
        app = build_folder_app(opened, Retraining(opened, run, name), options)
        opened.start()
        try:
            yield make_server(app, listening, options, scratch)
        finally:
            opened.stop()


def build_folder_app(opened: OpenedFolder, retraining: Retraining, options: PageOptions) -> "Starlette":
    """The application behind the page of a folder."""
    from jinja2 import Environment, FileSystemLoader
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse
    from starlette.routing import Route

    from actiondiff.app.gate import LocalGate

    template = Environment(loader=FileSystemLoader(_FILES), autoescape=True).get_template("index.html")

    verdict = verdict_of_run(retraining.run)

    def page(_: "Request") -> "Response":
        setup = {
            "folder": str(opened.folder.resolve()),
            "labels": opened.labels,
            "keys": choose_keys(opened.labels),
            "exclusive": opened.model.config.activation == "softmax",
            "cutting": [[name, TimelineOptions.model_fields[name].description or ""] for name in CUTTING],
            "abstain": [ABSTAIN_WORDS, TimelineOptions.model_fields[ABSTAIN].description or ""],
        }
        return HTMLResponse(
            template.render(
                folder=opened.folder.resolve().name,
                name=retraining.name,
                out=opened.corrections.folder,
                setup=setup,
                verdict=verdict,
            )
        )

    def static(request: "Request") -> "Response":
        path = _FILES / request.path_params["name"]
        return FileResponse(path) if path.name in ("page.css", "page.js") else PlainTextResponse("", 404)

    def media(request: "Request") -> "Response":
        try:
            return FileResponse(opened.playable(_number(request)))
        except ActionDiffError as error:  # such as of a video that failed
            return PlainTextResponse(str(error), 404)

    def state(_: "Request") -> Any:
        return {**opened.state(), "training": retraining.state(), "cut": opened.cut_values()}

    def details(request: "Request") -> Any:
        return opened.details(_number(request))

    def save(request: "Request", body: bytes) -> Any:
        edit = _read_edit(opened.videos[_number(request)].name, body)
        return {"version": opened.corrections.save(edit, opened.timelines).version}

    def cut(_: "Request", body: bytes) -> Any:
        opened.cut(_read_cutting(body))
        return opened.cut_values()

    def train(_: "Request") -> Any:
        retraining.start()
        return retraining.state()

    def use(request: "Request") -> Any:
        retraining.use(request.path_params["which"])
        return retraining.state()

    def _number(request: "Request") -> int:
        number: int = request.path_params["number"]
        if number >= len(opened.videos):
            raise UsageError("there is no such video; load the page again.")
        return number

    def answer(act: Callable[..., Any], *, has_body: bool = False) -> Callable[["Request"], Any]:
        """Run a function in a thread, and answer with its value as JSON, or with the message of its error."""
        from starlette.concurrency import run_in_threadpool

        async def endpoint(request: "Request") -> "Response":
            body = [await _read(request)] if has_body else []
            try:
                return JSONResponse(await run_in_threadpool(act, request, *body))
            except _OtherListError as error:
                return JSONResponse({"message": str(error)}, 410)
            except EditConflictError as error:
                return JSONResponse({"message": str(error)}, 409)
            except ActionDiffError as error:
                return JSONResponse({"message": str(error)}, 400)
            except OSError as error:
                return JSONResponse({"message": f"the file cannot be written: {error.strerror}"}, 507)

        return endpoint

    routes = [
        Route("/", page),
        Route("/static/{name}", static),
        Route("/media/{number:int}", media),
        Route("/api/state", answer(state)),
        Route("/api/videos/{number:int}", answer(details), methods=["GET"]),
        Route("/api/videos/{number:int}", answer(save, has_body=True), methods=["PUT"]),
        Route("/api/cut", answer(cut, has_body=True), methods=["PUT"]),
        Route("/api/train", answer(train), methods=["POST"]),
        Route("/api/use/{which}", answer(use), methods=["POST"]),
    ]
    hosts = () if options.host in ANY_HOST else {*LOCAL, options.host}
    return Starlette(routes=routes, middleware=[Middleware(LocalGate, hosts=hosts)])


class _OtherListError(UsageError):
    """The page was loaded from a program that listed other videos."""


async def _read(request: "Request") -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_EDIT:
            return b""
    return body


def _read_cutting(body: bytes) -> TimelineOptions:
    """The options that sliders and switch of the page sent; none of them for the model's own.

    Raises:
        UsageError: If they are not valid.
    """
    try:
        values = json.loads(body)
        return TimelineOptions.model_validate(
            {name: values[name] for name in (*CUTTING, ABSTAIN) if name in values}
        )
    except ValidationError as error:
        raise UsageError(f"{explain_validation(error)}.") from None
    except (ValueError, TypeError):
        raise UsageError("the request is not valid; load the page again.") from None


def _read_edit(video: str, body: bytes) -> Correction:
    """The edit that the page sent.

    Raises:
        UsageError: If it is not valid.
    """
    try:
        values = json.loads(body)
        named = values.pop("video", video)
        bouts = tuple(BoutEdit.model_validate(bout) for bout in values.pop("bouts"))
        edit = Correction.model_validate({**values, "bouts": bouts, "video": video})
    except ValidationError as error:
        raise UsageError(f"{explain_validation(error)}.") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UsageError("the request is not valid; load the page again.") from None
    if named != video:
        raise _OtherListError("the list of videos has changed since this page was loaded; load it again.")
    return edit
