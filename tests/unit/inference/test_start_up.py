"""What predicting from kept features must not load, since each call would wait for it."""

import subprocess
import sys


def test_a_model_loads_without_the_libraries_of_networks():
    code = "import sys, actiondiff.inference.model, actiondiff.cli.predict; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"diffusers", "transformers", "torch._dynamo", "torchmetrics"} & set(done.stdout.split()) == set()
