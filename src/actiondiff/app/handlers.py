"""Event handlers of the page: each takes values of some components and returns new values of others."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from pydantic import ValidationError

from actiondiff.app.analysis import analyse, check_upload, localize, retime, write_exports
from actiondiff.app.fragments import show_findings, show_heatmap, show_message, show_timeline
from actiondiff.app.options import ABSTAIN, CUTTING
from actiondiff.app.stopping import checked_at_layers
from actiondiff.app.uploads import Uploads
from actiondiff.app.visits import Stopped, Visit, Visits
from actiondiff.errors import ActionDiffError, UsageError, explain_validation
from actiondiff.inference.localization import LocalizationOptions
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import TimelineOptions
from actiondiff.video.opening import share_done

__all__ = ["Handlers"]

_PROGRESS = gr.Progress()
_SEARCH = "search"
_log = logging.getLogger(__name__)
_Values: TypeAlias = tuple[Any, ...]
"""New values of components, in the order in which the page names them; gradio accepts any type."""


@dataclass(frozen=True)
class Handlers:
    """The functions that the page calls; gradio supplies the arguments `request` and `progress`.

    Attributes:
        model: The trained model.
        name: Name of the model on the page and in exports.
        visits: The visits to the page.
        uploads: The uploaded videos.
        is_guess: Whether the model was not shown to be better than guessing.
    """

    model: ActionDiff
    name: str
    visits: Visits
    uploads: Uploads
    is_guess: bool = False

    def analyse(
        self,
        upload: str | None,
        smooth: float,
        shortest: float,
        gap: float,
        threshold: float,
        is_common: bool,
        abstains: bool,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> _Values:
        """Analyse an uploaded video.

        Returns:
            New values of status, findings, timeline, heatmap, the section of heatmaps, its action, and the
            upload.
        """
        nothing = ("", "", "", gr.update(visible=False), gr.skip(), None)
        if upload is None:
            return "", *nothing
        visit = self.visits.visit(request.session_hash)
        path = Path(upload).resolve()

        def work() -> _Values:
            advance = visit.begin(
                upload,
                lambda done, total, _: progress(share_done(done, total), desc=f"Analysing {path.name}"),
            )
            if not self.uploads.take(path):
                raise UsageError(f"{path.name} is no longer on the page. Upload it again.")
            visit.clear(path, self.uploads.drop)
            check_upload(path, max_bytes=self.uploads.quotas.of_video)
            options = _timeline_options(
                smooth, shortest, gap, threshold if is_common else None, abstains=abstains
            )
            with checked_at_layers(advance.check):
                visit.findings = analyse(self.model, path, options, advance)
            likely = visit.findings.prediction.label
            return "", *self._show(visit), "", gr.update(visible=True), likely, None

        return _say(work, nothing, visit)

    def retime(
        self,
        smooth: float,
        shortest: float,
        gap: float,
        threshold: float,
        is_common: bool,
        abstains: bool,
        request: gr.Request,
    ) -> _Values:
        """Cut the timeline again; returns new values of status and timeline."""
        visit = self.visits.visit(request.session_hash)
        if visit.findings is None:
            return gr.skip(), gr.skip()

        def work() -> _Values:
            options = _timeline_options(
                smooth, shortest, gap, threshold if is_common else None, abstains=abstains
            )
            if (findings := visit.findings) is not None:
                visit.findings = retime(self.model, findings, options)
            return "", self._show(visit)[1]

        return _say(work, (gr.skip(),), visit)

    def localize(
        self, action: str, method: str, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> _Values:
        """Search the video for an action; returns new values of status and heatmap."""
        visit = self.visits.visit(request.session_hash)

        def work() -> _Values:
            if visit.findings is None:
                raise UsageError("There is no video yet. Upload one first.")
            advance = visit.begin(
                _SEARCH,
                lambda done, total, _: progress(share_done(done, total), desc=f"Searching for {action}"),
            )
            options = LocalizationOptions.model_validate({"method": method})
            with checked_at_layers(advance.check):
                result = localize(self.model, visit.findings, action, options, advance)
            return "", show_heatmap(result, visit.publish("where", result.files))

        return _say(work, (gr.skip(),), visit)

    def ask_analysis(self, upload: str | None, request: gr.Request) -> _Values:
        """Note that a visitor wants a video analysed; returns new values of the stop button and of status."""
        return self._ask(upload or "", request)

    def ask_search(self, request: gr.Request) -> _Values:
        """Note that a visitor wants the video searched; returns values as `ask_analysis` does."""
        return self._ask(_SEARCH, request)

    def _ask(self, what: str, request: gr.Request) -> _Values:
        self.visits.visit(request.session_hash).ask(what)
        return gr.update(visible=True), ""

    def stop(self, request: gr.Request) -> None:
        """End the work of a visitor that runs or waits."""
        self.visits.stop(request.session_hash)

    def leave(self, request: gr.Request) -> None:
        """End a visit, because the page was closed."""
        self.visits.leave(request.session_hash)

    def _show(self, visit: Visit) -> tuple[str, str]:
        """Write the exports of a visitor's results, publish all files, and render findings and timeline."""
        findings = visit.findings
        assert findings is not None
        exports = write_exports(self.name, findings, visit.folder / "exports")
        playable = findings.playable
        video = visit.publish("video", {playable.name: playable})[playable.name]
        downloads = visit.publish("exports", exports)
        return (
            show_findings(findings, video, is_guess=self.is_guess),
            show_timeline(findings, downloads, is_guess=self.is_guess),
        )


def _timeline_options(*values: float | None, abstains: bool) -> TimelineOptions:
    """Options from the values of the sliders, of which None leaves the option to the model, and the switch.

    Raises:
        UsageError: If a value is not allowed.
    """
    chosen = {name: value for name, value in zip(CUTTING, values, strict=True) if value is not None}
    try:
        return TimelineOptions.model_validate({**chosen, ABSTAIN: abstains})
    except ValidationError as error:
        raise UsageError(f"{explain_validation(error)}.") from None


def _say(work: Callable[[], _Values], instead: _Values, visit: Visit) -> _Values:
    """Return what the work returns; if it fails, a message without paths or stack traces, and `instead`."""
    try:
        return work()
    except Stopped:
        return show_message("Stopped."), *instead
    except ActionDiffError as error:
        text = str(error)
        for folder in (visit.folder, *([visit.video.parent] if visit.video else [])):
            text = text.replace(f"{folder}/", "")
        return show_message(text, kind="error"), *instead
    except Exception:
        _log.exception("the page met an unexpected error")
        text = "An unexpected error occurred. The log of the program that serves this page says more."
        return show_message(text, kind="error"), *instead
    finally:
        if visit.is_abandoned:  # the visitor has left in the meantime
            visit.remove()
