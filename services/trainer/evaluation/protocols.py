"""All protocols, in the order in which they are shown."""

from recstack.errors import InvalidRequestError
from services.trainer.evaluation import anchors
from services.trainer.evaluation.ctr import ctr_baselines, ctr_model
from services.trainer.evaluation.protocol import Metric, Protocol, Target
from services.trainer.evaluation.retrieval import retrieval_baselines, retrieval_model

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
_DCN_CTR = ("dcn:random",)

PROTOCOLS = (
    Protocol(
        id="C1",
        title="CTR, split in time",
        note="Train: the first 80 % of events; test: every rating after a fixed instant; label: 4 or more; history: "
        "the user's strictly earlier events. Warm users have training events.",
        metrics=(*_CTR, Metric("auc_warm", "AUC warm"), Metric("auc_cold", "AUC cold")),
        entrants=lambda: (
            ctr_model("dien", "full", "temporal"),
            *ctr_baselines("temporal"),
        ),
        anchors=anchors.C1,
        targets=(
            Target(entrants=("dien:full",), metric="auc", bound=0.81),
            Target(entrants=("dien:full",), metric="logloss", bound=0.53),
            Target(entrants=("dien:full",), metric="gauc", bound=0.745),
            Target(entrants=("dien:full",), metric="samples_per_second", bound=50_000),
            Target(entrants=("dcn:full",), metric="auc", bound=0.80),
        ),
    ),
    Protocol(
        id="C2",
        title="CTR, random split",
        note="Random 80/10/10; label: 4 or more. Nothing of validation and test rows is known to a model.",
        metrics=_CTR,
        entrants=lambda: (*ctr_baselines("random-80-10-10"),),
        anchors=anchors.C2,
        targets=(Target(entrants=_DCN_CTR, metric="auc", bound=0.820),),
    ),
    Protocol(
        id="C3",
        title="CTR, random split without 3-star rows",
        note="As C2, of the rows whose rating is not 3.",
        metrics=_CTR,
        entrants=lambda: (*ctr_baselines("random-80-10-10-without-3"),),
        anchors=anchors.C3,
        targets=(Target(entrants=_DCN_CTR, metric="auc", bound=0.903),),
    ),
    Protocol(
        id="T1",
        title="Retrieval, split in time",
        note="Users with a liked item after the instant of C1; truth: the items they liked after it; all unseen items "
        "ranked. Warm users have a history.",
        metrics=(
            Metric("recall@500", "R@500"),
            Metric("recall@100", "R@100"),
            Metric("recall@20", "R@20"),
            Metric("ndcg@20", "NDCG@20"),
            Metric("coverage@20", "coverage@20"),
            Metric("recall@100_warm", "R@100 warm"),
            Metric("recall@100_cold", "R@100 cold"),
        ),
        entrants=lambda: (retrieval_model("full"), *retrieval_baselines()),
        targets=(Target(entrants=("two_tower:full",), metric="recall@500", bound=0.70, times_baseline=1.2),),
    ),
)


def protocol(name: str) -> Protocol:
    """A protocol by its id, in any case."""
    found = {each.id: each for each in PROTOCOLS}.get(name.upper())
    if found is None:
        raise InvalidRequestError(f"protocol {name!r} is unknown; there are {', '.join(each.id for each in PROTOCOLS)}")
    return found
