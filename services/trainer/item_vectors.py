"""What a ranker keeps of a dataset's items, for publishing it and for judging it."""

import torch
from torch import Tensor

from recstack.data import Dataset
from recstack.models.devices import device_of
from recstack.models.multimodal import Multimodal, encode_content
from recstack.models.ranker import Ranker
from services.trainer.items import item_table
from services.trainer.tasks.multimodal import content_of


def item_vectors(model: Ranker, dataset: Dataset) -> Tensor:
    """Item vectors [I+1, E] on the model's device. A multimodal model reads titles and posters, which takes seconds."""
    model.eval()
    with torch.inference_mode():
        if isinstance(model, Multimodal):
            return encode_content(model, content_of(model, dataset))
        return model.encode_items(item_table(dataset).to(device_of(model)))
