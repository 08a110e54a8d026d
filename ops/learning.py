"""Where the price publisher of a suite keeps what it counts of the log."""

from __future__ import annotations

from pathlib import Path

from ops.settings import SuiteSettings
from services.common.settings import load_settings
from services.pricing.learning.settings import LEARNING_FOLDER, LearningSettings
from services.pricing.publisher.settings import PricePublisherSettings


def learning_of(suite: SuiteSettings) -> tuple[LearningSettings, Path]:
    """(settings, folder), by the environment; `kairos up` gives the publisher a folder if its settings name none."""
    settings = load_settings(PricePublisherSettings)
    has_folder = "data_dir" in settings.model_fields_set
    folder = settings.data_dir if has_folder else suite.data_dir / "price_publisher"
    return settings.learning, folder / LEARNING_FOLDER
