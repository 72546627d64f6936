"""One GetItems call, decoded into item columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recstack.api.features.v1 import features_pb2
from services.gateway.clients import Backend
from services.gateway.pipeline.candidates import ItemColumns
from services.gateway.pipeline.deadline import Deadline


async def read_item_columns(
    features: Backend, item_ids: NDArray[np.int64], plan: str, deadline: Deadline
) -> tuple[ItemColumns, float]:
    """Columns of `item_ids` in order, and the milliseconds spent in Redis. What `plan` leaves out stays unknown.

    Raises ValueError when the reply does not have one value per item.
    """
    request = features_pb2.GetItemsRequest(item_ids=item_ids.tolist(), plan=plan)
    reply = await features.call(features.stub.GetItems, request, deadline)
    unknown = ItemColumns.unknown(len(item_ids))
    columns = {column.name: _decode(column) for column in reply.columns}
    read = ItemColumns(
        np.array(reply.statuses, np.int32),
        columns.get("year", unknown.year),
        columns.get("genres", unknown.genres),
        columns.get("title", unknown.title),
    )
    return unknown.with_rows(np.arange(len(item_ids)), read), reply.redis_ms


def _decode(column: features_pb2.Column) -> NDArray[Any]:
    values = np.frombuffer(column.data, np.dtype(column.dtype))
    return values if column.width == 1 else values.reshape(-1, column.width)
