"""All protocols, in the order in which they are shown."""

from dataclasses import replace
from functools import partial

from recstack.config import GatewaySettings
from recstack.errors import InvalidRequestError
from recstack.models.multimodal_config import MODALITIES
from services.trainer.evaluation import anchors
from services.trainer.evaluation.ctr import ctr_baselines, ctr_blend, ctr_details, ctr_model
from services.trainer.evaluation.funnel import funnel, ranker_alone, recall_order
from services.trainer.evaluation.next_item import next_item_baselines, next_item_details, next_item_model
from services.trainer.evaluation.protocol import Metric, Protocol, Target
from services.trainer.evaluation.rating import rating_baselines, rating_details, rating_model
from services.trainer.evaluation.retrieval import fused_model, retrieval_baselines, retrieval_details, retrieval_model
from services.trainer.evaluation.splits import (
    ITEMS_HELD_OUT,
    RANDOM_75,
    RANDOM_80,
    RANDOM_80_WITHOUT_3,
    RANDOM_90,
    TEMPORAL,
)

CTR = (
    Metric("auc", "AUC"),
    Metric("gauc", "GAUC"),
    Metric("logloss", "logloss", higher_is_better=False),
    Metric("ece", "ECE", higher_is_better=False),
)
RATING = (
    Metric("rmse", "RMSE", higher_is_better=False),
    Metric("mse", "MSE", higher_is_better=False),
    Metric("mae", "MAE", higher_is_better=False),
)
C1 = Protocol(
    id="C1",
    title="CTR, split in time",
    note="Train: the first 80 % of events; test: every rating from a fixed instant on; label: 4 or more; history: the "
    "user's strictly earlier events. Warm users have training events, cold ones none.",
    metrics=(*CTR, Metric("auc_warm", "AUC warm"), Metric("auc_cold", "AUC cold")),
    entrants=lambda: (
        ctr_model("dien", "full", TEMPORAL),
        ctr_model("dien", "notebook", TEMPORAL),
        ctr_model("dcn", "full", TEMPORAL),
        ctr_blend("C1", "dien:full", "dcn:full", TEMPORAL),
        *ctr_baselines(TEMPORAL),
    ),
    anchors=anchors.C1,
    targets=(
        Target(entrants=("dien:full",), metric="auc", bound=0.81),
        Target(entrants=("dien:full",), metric="logloss", bound=0.53),
        Target(entrants=("dien:full",), metric="gauc", bound=0.745),
        Target(entrants=("dien:full",), metric="samples_per_second", bound=50_000),
        Target(entrants=("dcn:full",), metric="auc", bound=0.80),
    ),
    details=partial(ctr_details, TEMPORAL),
)
C2 = Protocol(
    id="C2",
    title="CTR, random split",
    note="Random 80/10/10; label: 4 or more. A model knows nothing of validation and test rows.",
    metrics=CTR,
    entrants=lambda: (
        ctr_model("dcn", "random", RANDOM_80),
        ctr_model("simple_cf", "binary", RANDOM_80),
        *ctr_baselines(RANDOM_80),
    ),
    anchors=anchors.C2,
    targets=(Target(entrants=("dcn:random",), metric="auc", bound=0.820),),
    details=partial(ctr_details, RANDOM_80),
)
C3 = Protocol(
    id="C3",
    title="CTR, random split without 3-star rows",
    note="As C2, of the rows whose rating is not 3.",
    metrics=CTR,
    entrants=lambda: (ctr_model("dcn", "random", RANDOM_80_WITHOUT_3), *ctr_baselines(RANDOM_80_WITHOUT_3)),
    anchors=anchors.C3,
    targets=(Target(entrants=("dcn:random",), metric="auc", bound=0.903),),
    details=partial(ctr_details, RANDOM_80_WITHOUT_3),
)
R1 = Protocol(
    id="R1",
    title="Ratings, random 90/10",
    note="Random 90/10, of the 90 % a part for validation; predictions clipped to 1..5. A model knows nothing of "
    "validation and test rows.",
    metrics=RATING,
    entrants=lambda: (
        rating_model("dcn", "rating", RANDOM_90),
        rating_model("simple_cf", "full", RANDOM_90),
        rating_model("simple_cf", "notebook", RANDOM_90),
        rating_model("multimodal", "full", RANDOM_90),
        rating_model("multimodal", "history", RANDOM_90),
        rating_model("multimodal", "notebook", RANDOM_90),
        *(rating_model("multimodal", f"without_{name}", RANDOM_90) for name in (*MODALITIES, "region")),
        *rating_baselines(RANDOM_90),
    ),
    anchors=anchors.R1,
    targets=(
        Target(entrants=("simple_cf:full",), metric="rmse", bound=0.845),
        Target(entrants=("dcn:rating",), metric="rmse", bound=0.8227),
        Target(entrants=("multimodal:full",), metric="mse", bound=0.94),
    ),
    details=partial(rating_details, RANDOM_90),
)
R1_COLD = Protocol(
    id="R1-cold",
    title="Ratings of unseen items",
    note="A tenth of the items is held out for test with all its ratings, another for validation.",
    metrics=RATING,
    entrants=lambda: (
        rating_model("multimodal", "full", ITEMS_HELD_OUT),
        rating_model("multimodal", "history", ITEMS_HELD_OUT),
        rating_model("multimodal", "notebook", ITEMS_HELD_OUT),
        *(rating_model("multimodal", f"without_{name}", ITEMS_HELD_OUT) for name in (*MODALITIES, "region")),
        *rating_baselines(ITEMS_HELD_OUT),
    ),
    targets=(Target(entrants=("multimodal:full",), metric="mse", bound=1.05),),
    details=partial(rating_details, ITEMS_HELD_OUT),
)
R2 = Protocol(
    id="R2",
    title="Ratings, random 75/25",
    note="The notebook's split, of the 75 % a part for validation; predictions clipped to 1..5. Ours know profile and "
    "genres, no ids.",
    metrics=(RATING[1], RATING[0], RATING[2]),
    entrants=lambda: (
        rating_model("dcn", "no_ids", RANDOM_75),
        rating_model("dcn", "notebook", RANDOM_75),
        *rating_baselines(RANDOM_75),
    ),
    anchors=anchors.R2,
    targets=(Target(entrants=("dcn:no_ids", "dcn:notebook"), metric="mse", bound=1.13),),
    details=partial(rating_details, RANDOM_75),
)
S1 = Protocol(
    id="S1",
    title="Retrieval, leave one out",
    note="Each user's last event is test, with everything before it as input; all unseen items ranked, no samples.",
    metrics=(
        Metric("ndcg@10", "NDCG@10"),
        Metric("hr@10", "HR@10"),
        Metric("mrr@10", "MRR@10"),
        Metric("hr@50", "HR@50"),
        Metric("hr@100", "HR@100"),
    ),
    entrants=lambda: (
        next_item_model("sequence"),
        next_item_model("sequence_10_minutes"),
        *next_item_baselines(),
    ),
    anchors=anchors.S1,
    targets=(
        Target(entrants=("two_tower:sequence",), metric="hr@10", bound=0.33),
        Target(entrants=("two_tower:sequence",), metric="ndcg@10", bound=0.19),
        Target(entrants=("two_tower:sequence_10_minutes",), metric="hr@10", bound=0.31),
        Target(entrants=("two_tower:sequence_10_minutes",), metric="ndcg@10", bound=0.18),
    ),
    details=next_item_details,
    published_on="ml-1m-sasrec",
)
T1 = Protocol(
    id="T1",
    title="Retrieval, split in time",
    note="Users with a liked item from the instant of C1 on; truth: the unseen items they liked from then on; all "
    "unseen items ranked. Warm users have a history. Novelty: mean self-information of the first 20; popular: their "
    "mean percentile of popularity.",
    metrics=(
        Metric("recall@500", "R@500"),
        Metric("recall@100", "R@100"),
        Metric("recall@20", "R@20"),
        Metric("ndcg@20", "NDCG@20"),
        Metric("coverage@20", "cov@20"),
        Metric("novelty@20", "novelty bits"),
        Metric("popularity@20", "popular", higher_is_better=False),
        Metric("recall@100_warm", "R@100 warm"),
        Metric("recall@100_cold", "R@100 cold"),
    ),
    entrants=lambda: (
        fused_model("full"),
        retrieval_model("full"),
        retrieval_model("notebook"),
        *retrieval_baselines(),
    ),
    targets=(
        Target(
            entrants=("two_tower:full", "two_tower:full + EASE + demand"),
            metric="recall@500",
            bound=0.70,
            times_baseline=1.2,
        ),
    ),
    details=retrieval_details,
)

F1 = Protocol(
    id="F1",
    title="The whole funnel: recall, rank, select",
    note="T1's users and truth. Recall brings 500 unseen items, an entrant orders them, its first 20 count. Ceiling: "
    "the recall of all 500. Lift: NDCG@20 over that of recall's own order. Sameness: mean genre similarity within "
    "the 20.",
    metrics=(
        Metric("ndcg@20", "NDCG@20"),
        Metric("recall@20", "R@20"),
        Metric("ceiling", "ceiling"),
        Metric("lift", "lift"),
        Metric("coverage@20", "cov@20"),
        Metric("sameness", "sameness", higher_is_better=False),
    ),
    entrants=lambda: (
        replace(funnel("dien:full"), needs=(("T1", "two_tower:full"), ("C1", "dien:full"))),
        replace(
            funnel("dien:full", "dcn:full"), needs=(("T1", "two_tower:full"), ("C1", "dien:full"), ("C1", "dcn:full"))
        ),
        replace(
            funnel("dien:full", "dcn:full", diversity=GatewaySettings().diversity),
            needs=(("T1", "two_tower:full"), ("C1", "dien:full"), ("C1", "dcn:full")),
        ),
        replace(ranker_alone("dien", "full"), needs=(("T1", "two_tower:full"), ("C1", "dien:full"))),
        replace(recall_order("full"), needs=(("T1", "two_tower:full"),)),
    ),
    targets=(Target(entrants=("blend of dien", "blend of dien, dcn"), metric="lift", bound=1.15),),
)

PROTOCOLS = (C1, C2, C3, R1, R1_COLD, R2, S1, T1, F1)


def find_protocol(name: str) -> Protocol:
    """A protocol by its id, in any case. Raises InvalidRequestError for another name."""
    found = {each.id.upper(): each for each in PROTOCOLS}.get(name.upper())
    if found is None:
        known = ", ".join(each.id for each in PROTOCOLS)
        raise InvalidRequestError(f"no protocol {name!r}; the protocols are {known}")
    return found
