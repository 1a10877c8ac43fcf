"""What may be written, and where: claims on output folders, and paths that come from other people's files."""

from actiondiff.outputs.claims import OutputClaim, claim, claim_file, join, permit
from actiondiff.outputs.paths import checked_identity, inside

__all__ = ["OutputClaim", "checked_identity", "claim", "claim_file", "inside", "join", "permit"]
