"""Put trained models, catalogue, index, features and golden scores into one folder, and publish it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recstack.bundle import CONTENT, RETRIEVAL, BundleStore, Manifest, ranker_folder
from recstack.data import Dataset, UserSequences
from recstack.features.loader import write_feature_files
from recstack.models.blend import Member
from recstack.models.multimodal import Multimodal
from recstack.models.ranker import Ranker
from recstack.models.rankers import RANKERS, save_ranker
from recstack.models.retrieval_index import DEFAULT_RULE, IndexRule
from recstack.models.retriever import Retriever
from recstack.models.retrievers import RETRIEVERS, save_retriever
from services.trainer.golden import write_golden
from services.trainer.item_indexes import write_indexes
from services.trainer.item_vectors import item_vectors
from services.trainer.items import make_catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models of a bundle, on the CPU.

    rankers: all that the bundle holds, by name. weights: those that serve, see `Manifest.rankers`. content: serves
    items without interactions; None leaves that channel empty.
    """

    retriever: Retriever
    rankers: Mapping[str, Ranker]
    weights: Mapping[str, float]
    content: Multimodal | None = None


def publish(
    store: BundleStore,
    dataset: Dataset,
    models: Models,
    metrics: Mapping[str, float],
    rule: IndexRule = DEFAULT_RULE,
) -> Manifest:
    """Publish the models with everything they need to serve. Not yet active: see `BundleStore.activate`.

    The feature files hold all events, later ones than the models were trained on included: that is what is known
    when they serve.
    """
    roles = {RETRIEVAL: RETRIEVERS.name_of(models.retriever)}
    if models.content is not None:
        roles[CONTENT] = RANKERS.name_of(models.content)
    with TemporaryDirectory(prefix="recstack-bundle-") as name:
        folder = Path(name)
        write_bundle(folder, dataset, models, rule)
        return store.publish(folder, dataset=dataset.name, models=roles, rankers=models.weights, metrics=metrics)


def write_bundle(folder: Path, dataset: Dataset, models: Models, rule: IndexRule) -> None:
    """Write all files of a bundle except its manifest into `folder`."""
    catalogue = make_catalogue(dataset)
    catalogue.save(folder / "catalogue.npz")

    sequences = UserSequences.build(dataset.events, len(dataset.users.ids))

    save_retriever(models.retriever, folder / RETRIEVAL)
    write_indexes(folder / RETRIEVAL, models.retriever, dataset, sequences, rule)

    if models.content is not None:
        save_ranker(models.content, folder / CONTENT, item_vectors(models.content, dataset))
        interactions = np.bincount(dataset.events.item, minlength=len(dataset.items.ids))
        np.save(folder / CONTENT / "interactions.npy", interactions.astype(np.int64))

    serving = {}
    for name, ranker in models.rankers.items():
        vectors_IE = item_vectors(ranker, dataset)
        save_ranker(ranker, folder / ranker_folder(name), vectors_IE)
        if name in models.weights:
            serving[name] = Member(ranker, vectors_IE, models.weights[name])
    write_feature_files(folder, dataset)
    write_golden(folder / "golden.npz", dataset, sequences, catalogue, list(serving.values()))
