"""What may be written, and where: claims on folders, and names and documents that come from other people."""

from actiondiff.outputs.claims import STATE_FOLDER, OutputClaim, claim, claim_file, join, permit, try_lock
from actiondiff.outputs.paths import checked_identity, inside

__all__ = [
    "STATE_FOLDER",
    "OutputClaim",
    "checked_identity",
    "claim",
    "claim_file",
    "inside",
    "join",
    "permit",
    "try_lock",
]
