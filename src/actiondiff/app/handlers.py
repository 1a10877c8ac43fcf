"""What happens when the page's parts are used: from their values to other parts' new values."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from pydantic import ValidationError

from actiondiff.app.analysis import check_upload, find_place, look, retime, write_exports
from actiondiff.app.desk import Desk, Stopped, Visit
from actiondiff.app.fragments import show_findings, show_message, show_place
from actiondiff.errors import ActionDiffError, UsageError, explain_validation
from actiondiff.inference.localization import LocalizationOptions
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import TimelineOptions
from actiondiff.types import share_done

__all__ = ["SETTINGS", "Handlers"]

SETTINGS = ("smooth_seconds", "min_seconds", "max_gap_seconds", "threshold")
"""Options of the timeline that the page has fields for, in the order that handlers take them."""
_PROGRESS = gr.Progress()
_log = logging.getLogger(__name__)
_Values: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Handlers:
    """What the page calls; its framework gives `request` and `progress` of itself.

    Attributes:
        model: The trained model.
        name: What to call it.
        desk: Of the visitors.
        max_upload_bytes: Larger videos are refused.
    """

    model: ActionDiff
    name: str
    desk: Desk
    max_upload_bytes: int

    def look(
        self,
        upload: str | None,
        smooth: str,
        shortest: str,
        gap: str,
        threshold: str,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> _Values:
        """New values of: status, findings, place, its part of the page, its action, the upload's field."""
        nothing = ("", "", gr.update(visible=False), gr.skip(), None)
        if upload is None:
            return "", *nothing
        visit = self.desk.visit(request.session_hash)
        path = visit.clear() / Path(upload).name
        Path(upload).replace(path)

        def work() -> _Values:
            told = visit.begin(
                lambda done, total, _: progress(share_done(done, total), desc=f"Looking at {path.name}")
            )
            check_upload(path, max_bytes=self.max_upload_bytes)
            options = _timeline_options(smooth, shortest, gap, threshold)
            visit.findings = look(self.model, path, options, told)
            likely = visit.findings.prediction.label
            return "", self._show(visit), "", gr.update(visible=True), likely, None

        return _say(work, nothing, visit)

    def retime(self, smooth: str, shortest: str, gap: str, threshold: str, request: gr.Request) -> _Values:
        """New values of: status, findings."""
        visit = self.desk.visit(request.session_hash)

        def work() -> _Values:
            if visit.findings is None:
                raise UsageError("There is no video yet: drop one first.")
            options = _timeline_options(smooth, shortest, gap, threshold)
            visit.findings = retime(self.model, visit.findings, options)
            return "", self._show(visit)

        return _say(work, (gr.skip(),), visit)

    def find_place(
        self, action: str, method: str, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> _Values:
        """New values of: status, place."""
        visit = self.desk.visit(request.session_hash)

        def work() -> _Values:
            if visit.findings is None:
                raise UsageError("There is no video yet: drop one first.")
            told = visit.begin(
                lambda done, total, _: progress(share_done(done, total), desc=f"Looking for {action}")
            )
            options = LocalizationOptions.model_validate({"method": method})
            place = find_place(self.model, visit.findings, action, options, told)
            return "", show_place(place, visit.publish("where", place.files))

        return _say(work, (gr.skip(),), visit)

    def stop(self, request: gr.Request) -> None:
        """End the visitor's work."""
        self.desk.visit(request.session_hash).stop()

    def leave(self, request: gr.Request) -> None:
        """End the visit: the page was closed."""
        self.desk.leave(request.session_hash)

    def _show(self, visit: Visit) -> str:
        findings = visit.findings
        assert findings is not None
        exports = write_exports(self.name, findings, visit.folder / "exports")
        shown = findings.shown
        video = visit.publish("video", {shown.name: shown})[shown.name]
        return show_findings(findings, video, visit.publish("exports", exports))


def _timeline_options(*values: str) -> TimelineOptions:
    """What the fields hold; an empty one leaves it to the model.

    Raises:
        UsageError: If a value is not allowed.
    """
    given = {name: value for name, value in zip(SETTINGS, values, strict=True) if value.strip()}
    try:
        return TimelineOptions.model_validate(given)
    except ValidationError as error:
        raise UsageError(f"{explain_validation(error)}.") from None


def _say(work: Callable[[], _Values], instead: _Values, visit: Visit) -> _Values:
    """What the work returns; else a message, without paths or stack traces, and what is given instead."""
    try:
        return work()
    except Stopped:
        return show_message("Stopped."), *instead
    except ActionDiffError as error:
        text = str(error).replace(f"{visit.folder}/", "")
        return show_message(text, kind="error"), *instead
    except Exception:
        _log.exception("the page met an error that it does not know")
        text = "Something went wrong that this page does not know. Its log, where it runs, says more."
        return show_message(text, kind="error"), *instead
    finally:
        if visit.is_over:  # the visitor left meanwhile
            visit.remove()
