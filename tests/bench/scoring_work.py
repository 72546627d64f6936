"""Multiply-adds that scoring needs, counted from a model's configuration: the floor that `tests.bench.scoring` holds
times against.

Counted is what no rearrangement saves: what depends on an item alone is free (it is done once per bundle), what depends
on the user alone counts once, a product of a matrix with [user; item] counts for the columns of pairs only.
Activations, softmax and reading memory count as nothing.
"""

from recstack.models.dcn import DCN
from recstack.models.dien import DIENConfig

Work = dict[str, int]
"""Multiply-adds of one request by part."""


def dien_work(config: DIENConfig, candidates: int, history: int) -> Work:
    """Of DIEN with AUGRU. Per user: the extraction's recurrence, and the attended steps' parts."""
    hidden, attention = config.hidden, config.attention_hidden
    steps, heads, first = (
        min(config.evolution_steps, history),
        config.neighbour_heads * config.neighbour_dim,
        config.mlp[0],
    )
    head = sum(a * b for a, b in zip(config.mlp, (*config.mlp[1:], 1), strict=True))
    pair = {
        "attention": steps * attention * (hidden + 1),
        "evolution": steps * 3 * hidden * hidden,
        "neighbours": 2 * (history + 1) * heads,
        "first layer": (3 * hidden + heads) * first,
        "further layers": head,
        "memory": config.memory_dim,
    }
    user = history * 3 * hidden * hidden + steps * hidden * (2 * attention + 3 * hidden)
    return {part: candidates * work for part, work in pair.items()} | {"user": user}


def dcn_work(model: DCN, candidates: int) -> Work:
    """Of DCN. Of its inputs, those are of pairs that are products of a user's and an item's factors."""
    config, inputs = model.config, model.cross_out.in_features
    pair_inputs = 0 if model.user_factors_in is None else model.user_factors_in.in_features
    deep = config.deep
    further = sum(a * b for a, b in zip(deep, (*deep[1:], 1), strict=True))
    layers, low = config.cross_layers, config.cross_experts * config.cross_rank
    if config.cross == "vector":  # each layer is a scalar per pair: see VectorCross
        cross = (layers + 1) * pair_inputs
    elif config.cross == "matrix":  # the first layer reads [user; item], the last is taken from the logit's side
        cross = min(layers, 2) * inputs * pair_inputs + max(layers - 2, 0) * inputs * inputs + 2 * inputs
    else:
        down, mix = low + config.cross_experts, low * config.cross_rank
        cross = down * pair_inputs + layers * (mix + low * (pair_inputs + 1)) + (layers - 1) * inputs * (low + down)
    pair = {"first deep layer": pair_inputs * deep[0], "further deep layers": further, "cross": cross}
    return {part: candidates * work for part, work in pair.items()}
