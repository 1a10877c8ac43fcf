"""The layout of the page, and which handler each of its components calls."""

from typing import Any

import gradio as gr

from actiondiff.app.fragments import show_header, show_message, show_model
from actiondiff.app.handlers import SETTINGS, Handlers
from actiondiff.app.options import PageOptions
from actiondiff.app.visits import Visits
from actiondiff.evaluation.verdict import ChanceVerdict
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import TimelineOptions
from actiondiff.video.search import SUFFIXES

__all__ = ["build_page"]

_OLDEST_SECONDS = 3600  # age at which an upload that was never analysed is removed
_METHODS = [("one pass", "cells"), ("each patch on its own (slow)", "crops")]


def build_page(
    model: ActionDiff,
    card: str,
    *,
    name: str,
    visits: Visits,
    verdict: ChanceVerdict | None,
    options: PageOptions,
) -> gr.Blocks:
    """Build the page of one model.

    Args:
        model: The trained model.
        card: The model card, as Markdown.
        name: Name of the model on the page.
        visits: The visits to the page.
        verdict: The model's own test score; None if it is not to be shown.
        options: Options of the page.
    """
    times = TimelineOptions.of_model(model.config.timeline)
    with gr.Blocks(
        title=f"ActionDiff: {name}",
        analytics_enabled=False,
        delete_cache=(_OLDEST_SECONDS, _OLDEST_SECONDS),
    ) as page:
        gr.HTML(show_header(name, is_local=options.is_local))
        if verdict is not None:
            kind = "note" if verdict.beats_guessing else "warning"
            gr.HTML(show_message(f"The model's own test: {verdict.sentence}", kind=kind), elem_id="verdict")
        upload = gr.File(
            label=f"Video, at most {options.max_upload_mb} MB",
            file_types=list(SUFFIXES),
            height=140,
            elem_id="upload",
        )
        with gr.Row(elem_id="working"):
            status = gr.HTML("", elem_id="status", min_height=0)
            stop = gr.Button("Stop", size="sm", scale=0, min_width=90, elem_id="stop", visible=False)
        findings = gr.HTML("", elem_id="findings")
        with gr.Column(visible=False, elem_id="where") as more:
            gr.HTML("<h2>Where</h2>")
            with gr.Row(equal_height=False):
                action = gr.Dropdown(model.labels, label="Behaviour", elem_id="action")
                method = gr.Radio(_METHODS, value="cells", label="Method")
                ask = gr.Button("Show where", variant="primary", scale=0, min_width=150, elem_id="ask")
            heatmap = gr.HTML("", elem_id="place")
        with gr.Accordion("Settings of the timeline", open=False, elem_id="settings"):
            with gr.Row():
                fields = [_field(field, times) for field in SETTINGS]
            apply = gr.Button("Apply to the video above", size="sm", elem_id="apply")
        with gr.Accordion("About the model", open=False, elem_id="about"):
            gr.Markdown(card or "This model has no card.")
            gr.HTML(show_model(model))
        _wire(
            page,
            Handlers(
                model, name, visits, options.max_upload_bytes,
                is_guess=verdict is not None and not verdict.beats_guessing,
            ),
            upload=upload, fields=fields, action=action, method=method, ask=ask, apply=apply, stop=stop,
            status=status, findings=findings, more=more, heatmap=heatmap,
        )  # fmt: skip
    return page


def _field(name: str, values: TimelineOptions) -> gr.Textbox:
    """A field for one number of the timeline's options. It is a text field, since it may be empty."""
    value = getattr(values, name)
    return gr.Textbox(
        "" if value is None else f"{value:g}",
        label=name.replace("_", " "),
        info=TimelineOptions.model_fields[name].description,
        placeholder="the model's own",
        max_lines=1,
        min_width=210,
    )


def _wire(
    page: gr.Blocks,
    handlers: Handlers,
    *,
    upload: gr.File,
    fields: list[gr.Textbox],
    action: gr.Dropdown,
    method: gr.Radio,
    ask: gr.Button,
    apply: gr.Button,
    stop: gr.Button,
    status: gr.HTML,
    findings: gr.HTML,
    more: gr.Column,
    heatmap: gr.HTML,
) -> None:
    """Connect components and handlers. Events that use the model wait in one queue; stopping does not."""
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    long: dict[str, Any] = {
        "concurrency_id": "model",
        "concurrency_limit": 1,
        "show_progress_on": status,
        "api_visibility": "private",
    }

    def begun() -> Any:
        return gr.update(visible=True), ""

    def done() -> Any:
        return gr.update(visible=False)

    # An upload ends the work on the previous video; the stop button is visible while the model works.
    analysis = upload.upload(handlers.stop, None, None, **quick).then(begun, None, [stop, status], **quick)
    analysis = analysis.then(
        handlers.analyse, [upload, *fields], [status, findings, heatmap, more, action, upload], **long
    )
    analysis.then(done, None, stop, **quick)
    search = ask.click(begun, None, [stop, status], **quick)
    search = search.then(handlers.localize, [action, method], [status, heatmap], **long)
    search.then(done, None, stop, **quick)
    # Other options of the timeline need no new pass of the model.
    apply.click(handlers.retime, fields, [status, findings], **long)
    stop.click(handlers.stop, None, None, **quick)
    page.unload(handlers.leave)
