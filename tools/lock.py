"""Write `requirements.lock`: every package that `make setup` installs, with the SHA-256 of its files.

Run by `make lock` after a change of `pyproject.toml` or `constraints.txt`. uv resolves the dependencies of
`.[dev]` for all platforms within the pins of `constraints.txt`. torch, and the CUDA packages that some of its
builds bring along, are left out: each build of torch has its own files and dependencies, and which one pip
takes depends on the machine. `make setup` installs torch by its pin alone.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
OLDEST_PYTHON = "3.11.5"  # pymdown-extensions needs the .5
OF_TORCH = re.compile(r"(torch|triton|cuda-\w+|nvidia-[\w-]+)==")
HEADER = """\
# Every package that `make setup` installs, with the SHA-256 of its files; written by `make lock`.
# torch is not here: its builds for CPU and CUDA differ in their files. See tools/lock.py.
"""


def blocks(text: str) -> Iterator[str]:
    """The text of each package: its pin, and lines of hashes."""
    yield from re.findall(r"^[^\s#].*\n(?:[ \t].*\n)*", text, re.MULTILINE)


def main() -> None:
    """Resolve, and write the file."""
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "compile", "pyproject.toml", "--extra", "dev", "--constraint", "constraints.txt"]
    command += ["--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes", "--no-emit-index-url"]
    command += ["--no-annotate", "--no-header", "--quiet"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    chosen = [block for block in blocks(text) if not OF_TORCH.match(block) and "== 'emscripten'" not in block]
    LOCK.write_text(HEADER + "".join(chosen), "utf-8", newline="\n")
    print(f"Written: {LOCK.name} ({len(chosen)} packages)")


if __name__ == "__main__":
    main()
