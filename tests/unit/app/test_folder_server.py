"""The page of a folder asked for what it does not have."""

from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="needs starlette: pip install 'actiondiff[app]'")
from actiondiff.app.folder_server import build_folder_app
from actiondiff.app.options import PageOptions
from actiondiff.errors import VideoError


def test_a_video_that_cannot_be_played_is_an_answer_and_no_failure_of_the_program(tmp_path):
    class Opened:
        videos = ("broken.mp4",)

        def playable(self, number):
            raise VideoError("broken.mp4: no frame decodes.")

    app = build_folder_app(Opened(), SimpleNamespace(run=tmp_path), PageOptions())
    (route,) = (route for route in app.routes if route.path.startswith("/media"))
    for number, words in ((0, "no frame decodes"), (7, "there is no such video")):
        answer = route.endpoint(SimpleNamespace(path_params={"number": number}))
        assert answer.status_code == 404
        assert words in answer.body.decode()
