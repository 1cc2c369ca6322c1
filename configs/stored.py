"""Configs that earlier versions stored in checkpoints and reports, brought up to date."""

from collections.abc import Mapping
from typing import Any


def migrated(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stored config, as JSON, in which `system` says what the name of the network said before it was a setting."""
    is_old_classifier = "system" not in stored and stored.get("model", {}).get("name") == "wideresnet"
    return {**stored, "system": "classifier"} if is_old_classifier else stored
