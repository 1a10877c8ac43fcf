#!/usr/bin/env bash
# Every measurement on a GPU, in order of importance, within nine minutes on an H200.
#
#     benchmarks/gpu_all.sh [FOLDER]
#
# FOLDER (default: gpu) gets gpu.json, written after each piece, and the output of the other steps. A step that
# fails, or for which no time is left, is named at the end, and the steps after it run all the same. A second
# call skips the pieces that gpu.json holds. The exit code is 1 if a step failed or was left out.
#
# Variables: PYTHON (default: .venv/bin/python, else python3); SECONDS_IN_ALL (default: 540, or 3600 with SMOKE);
# ACTIONDIFF_SHARED, the folder whose goldens/ the padded windows and the parity tests need; SMOKE=1 runs a
# tiny network on the CPU, to check this script.
set -u
mkdir -p "${1:-gpu}" && folder=$(cd "${1:-gpu}" && pwd) || exit 1
cd "$(dirname "$0")/.." || exit 1
limit=540
[ -z "${SMOKE:-}" ] || limit=3600
end=$((SECONDS + ${SECONDS_IN_ALL:-$limit}))
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
shared=${ACTIONDIFF_SHARED:-}
smoke=${SMOKE:+--smoke}
failed=()
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1

# Nothing can be measured without the package's libraries and, but for SMOKE, a GPU: say it once, at once.
if ! "$python" - "${SMOKE:-}" <<'CHECK'; then
import sys

try:
    import torch
    from actiondiff.backbones.svd import backbone
except ImportError as error:
    sys.exit(f"{sys.executable} lacks the package's libraries: {error}. Set PYTHON, or run make setup.")
if not sys.argv[1] and not torch.cuda.is_available():
    sys.exit("torch finds no CUDA device here; SMOKE=1 checks the script on a CPU.")
CHECK
    exit 1
fi

step() {  # name, command ...: run it in the time that is left; its output also goes to FOLDER/NAME.txt
    local name=$1 left=$((end - SECONDS)) status
    shift
    if [ "$left" -le 5 ]; then
        failed+=("$name (no time left)")
        return
    fi
    echo "== $name, $left s left"
    timeout --kill-after=10 "$left" "$@" 2>&1 | tee "$folder/$name.txt"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed+=("$name (exit code $status)")
}

extraction() {  # pieces that share one process, so that weights are drawn once
    local name=$1
    shift
    step "$name" "$python" benchmarks/gpu_extraction.py "$@" --repeats 3 --json "$folder/gpu.json" $smoke
}

# The claims: our default against the released path, and where its time goes.
extraction claims ceiling ours-default released-default profile-default
# The tests on the device.
if "$python" -c "import pytest" 2> /dev/null; then
    step tests "$python" -m pytest -q -m gpu tests/gpu
else
    failed+=("tests (pytest is not installed: pip install -e '.[dev]')")
fi
# What each choice is worth; float32 is the reference of all differences.
extraction choices ours-unfused ours-float32 ours-float16-vae-tf32 ours-bfloat16-vae-bfloat16
if [ -d "$shared/goldens" ]; then
    step padded "$python" benchmarks/padded_windows.py "$shared/goldens" --windows --json "$folder/padded.json"
else
    echo "== padded windows are left out: there is no folder $shared/goldens (ACTIONDIFF_SHARED)"
fi
[ -n "$smoke" ] || step kernels "$python" benchmarks/gpu_kernels.py
# What takes longest, last.
extraction rest released-no-tf32 profile-released

echo "figures: $folder/gpu.json"
if [ ${#failed[@]} -gt 0 ]; then
    printf 'not done: %s\n' "${failed[@]}"
    exit 1
fi
