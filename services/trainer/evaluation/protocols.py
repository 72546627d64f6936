"""All protocols, in the order in which they are shown."""

from services.trainer.evaluation import anchors
from services.trainer.evaluation.protocol import Metric, Protocol, Target

_CTR = (
    Metric("auc", "AUC"),
    Metric("gauc", "GAUC"),
    Metric("logloss", "logloss", higher_is_better=False),
    Metric("ece", "ECE", higher_is_better=False),
)
_RATING = (
    Metric("rmse", "RMSE", higher_is_better=False),
    Metric("mse", "MSE", higher_is_better=False),
    Metric("mae", "MAE", higher_is_better=False),
)
