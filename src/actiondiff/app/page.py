"""The layout of the page, and which handler each of its components calls."""

from typing import Any

import gradio as gr

from actiondiff.app.fragments import show_header, show_message, show_model
from actiondiff.app.handlers import Handlers
from actiondiff.app.options import ABSTAIN, ABSTAIN_WORDS, CUTTING, PageOptions
from actiondiff.app.uploads import Uploads
from actiondiff.app.visits import Visits
from actiondiff.evaluation.verdict import ChanceVerdict
from actiondiff.inference.model import ActionDiff
from actiondiff.inference.timeline import TimelineOptions
from actiondiff.video.search import SUFFIXES

__all__ = ["build_page"]

_LONGEST_SECONDS = {"smooth_seconds": 10, "min_seconds": 60, "max_gap_seconds": 60}  # of the sliders
_COMMON_THRESHOLD = 0.5
_METHODS = [("one pass", "cells"), ("each patch on its own (slow)", "crops")]


def build_page(
    model: ActionDiff,
    card: str,
    *,
    name: str,
    visits: Visits,
    uploads: Uploads,
    verdict: ChanceVerdict | None,
    options: PageOptions,
) -> gr.Blocks:
    """Build the page of one model.

    Args:
        model: The trained model.
        card: The model card, as Markdown.
        name: Name of the model on the page.
        visits: The visits to the page.
        uploads: The uploaded videos.
        verdict: The model's own test score; None if it is not to be shown.
        options: Options of the page.
    """
    times = TimelineOptions.of_model(model.config.timeline)
    with gr.Blocks(
        title=f"ActionDiff: {name}",
        analytics_enabled=False,
    ) as page:
        gr.HTML(show_header(name, is_local=options.is_local))
        if verdict is not None:
            kind = "note" if verdict.beats_guessing else "warning"
            gr.HTML(show_message(f"The model's own test: {verdict.sentence}", kind=kind), elem_id="verdict")
        upload = gr.File(
            label=f"Video, at most {options.largest_video_mb} MB",
            file_types=list(SUFFIXES),
            height=140,
            elem_id="upload",
        )
        with gr.Row(elem_id="working"):
            status = gr.HTML("", elem_id="status", min_height=0)
            stop = gr.Button("Stop", size="sm", scale=0, min_width=90, elem_id="stop", visible=False)
        findings = gr.HTML("", elem_id="findings")
        with gr.Accordion("Cut the bouts", open=False, elem_id="settings"):
            fields = _sliders(times)
            restore = gr.Button("Back to the model's own values", size="sm", elem_id="restore")
        when = gr.HTML("", elem_id="when")
        with gr.Column(visible=False, elem_id="where") as more:
            gr.HTML("<h2>Where</h2>")
            with gr.Row(equal_height=False):
                action = gr.Dropdown(model.labels, label="Behaviour", elem_id="action")
                method = gr.Radio(_METHODS, value="cells", label="Method")
                ask = gr.Button("Show where", variant="primary", scale=0, min_width=150, elem_id="ask")
            heatmap = gr.HTML("", elem_id="place")
        with gr.Accordion("About the model", open=False, elem_id="about"):
            gr.Markdown(card or "This model has no card.")
            gr.HTML(show_model(model))
        _wire(
            page,
            Handlers(
                model, name, visits, uploads,
                is_guess=verdict is not None and not verdict.beats_guessing,
            ),
            upload=upload, fields=fields, restore=restore, action=action, method=method, ask=ask, stop=stop,
            status=status, findings=findings, when=when, more=more, heatmap=heatmap,
        )  # fmt: skip
    # Without this, a request of another kind would call the model beside the queue.
    page.queue(api_open=False, max_size=options.max_waiting)
    return page


def _sliders(values: TimelineOptions) -> list[Any]:
    """A slider for each option in `CUTTING`, a box for a threshold that holds for all, and the switch."""
    fields: list[Any] = []
    common = values.threshold is not None
    with gr.Row():
        for name in CUTTING:
            own = getattr(values, name)
            is_threshold = name == "threshold"
            fields.append(
                gr.Slider(
                    0,
                    1 if is_threshold else max(_LONGEST_SECONDS[name], own),
                    _COMMON_THRESHOLD if own is None else own,
                    step=0.01 if is_threshold else 0.1,
                    label=name.replace("_", " "),
                    info=TimelineOptions.model_fields[name].description,
                    interactive=common or not is_threshold,
                    min_width=230,
                )
            )
    box = gr.Checkbox(
        common,
        label="one threshold for all behaviours",
        info="Otherwise each has the model's own.",
        container=False,
    )
    switch = gr.Checkbox(
        values.abstain_outside,
        label=ABSTAIN_WORDS,
        info=TimelineOptions.model_fields[ABSTAIN].description,
        container=False,
        elem_id="abstain",
    )
    return [*fields, box, switch]


def _wire(
    page: gr.Blocks,
    handlers: Handlers,
    *,
    upload: gr.File,
    fields: list[Any],
    restore: gr.Button,
    action: gr.Dropdown,
    method: gr.Radio,
    ask: gr.Button,
    stop: gr.Button,
    status: gr.HTML,
    findings: gr.HTML,
    when: gr.HTML,
    more: gr.Column,
    heatmap: gr.HTML,
) -> None:
    """Connect components and handlers. Events that use the model wait in one queue; stopping does not."""
    quick: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    long: dict[str, Any] = {
        "concurrency_id": "model",
        "concurrency_limit": 1,
        "queue": True,
        "show_progress_on": status,
        "api_visibility": "private",
    }

    def done() -> Any:
        return gr.update(visible=False)

    # An upload ends the work on the previous video; the stop button is visible while the model works.
    analysis = upload.upload(handlers.ask_analysis, upload, [stop, status], **quick)
    analysis = analysis.then(
        handlers.analyse, [upload, *fields], [status, findings, when, heatmap, more, action, upload], **long
    )
    analysis.then(done, None, stop, **quick)
    search = ask.click(handlers.ask_search, None, [stop, status], **quick)
    search = search.then(handlers.localize, [action, method], [status, heatmap], **long)
    search.then(done, None, stop, **quick)
    # Cutting the scores again needs no network, so it does not wait for the model. Of the values that a
    # slider passes through while a cut is made, only the last is taken.
    cut: dict[str, Any] = {
        "concurrency_id": "cut",
        "concurrency_limit": 1,
        "queue": True,
        "show_progress": "hidden",
        "trigger_mode": "always_last",
        "api_visibility": "private",
    }
    *sliders, threshold, box, switch = fields
    gr.on([field.input for field in (*sliders, threshold)], handlers.retime, fields, [status, when], **cut)
    box.input(lambda is_common: gr.update(interactive=is_common), box, threshold, **quick)
    gr.on([box.input, switch.input], handlers.retime, fields, [status, when], **cut)
    own = [field.value for field in fields]
    restored = restore.click(
        lambda: [*own[:-3], gr.update(value=own[-3], interactive=own[-2]), *own[-2:]], None, fields, **quick
    )
    restored.then(handlers.retime, fields, [status, when], **cut)
    stop.click(handlers.stop, None, None, **quick)
    page.unload(handlers.leave)
