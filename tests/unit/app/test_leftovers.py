"""What visitors uploaded to a page that was killed is removed when the next page opens."""

import os
import subprocess
import sys

from actiondiff.app.server import hold, remove_leftovers


def test_folders_of_killed_pages_are_removed_and_no_others(tmp_path):
    killed, running = tmp_path / "actiondiff-page-killed", tmp_path / "actiondiff-page-running"
    foreign, linked = tmp_path / "actiondiff-page-foreign", tmp_path / "actiondiff-page-linked"
    for folder in (killed, running, foreign):
        (folder / "visits").mkdir(parents=True)
        (folder / "visits/day.mp4").touch()
    linked.symlink_to(running)
    script = (
        "import os, pathlib, sys\nfrom actiondiff.app.server import hold\n"
        "with hold(pathlib.Path(sys.argv[1])):\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, str(killed)], check=False).returncode == -9
    with hold(running):
        remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [foreign.name, linked.name, running.name]
    assert (running / "visits/day.mp4").exists()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [foreign.name, linked.name]
