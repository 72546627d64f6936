"""Names of recall channels, for logs, the CLI and people. The numbers are those of the protobuf contract."""

from recstack.api.common.v1 import common_pb2

CHANNELS: tuple[str, ...] = tuple(
    name.removeprefix("CHANNEL_").lower()
    for name, value in sorted(common_pb2.Channel.items(), key=lambda i: i[1])
    if value
)
"""Channel names in contract order: channel number = position + 1, bit in a channel mask = position."""


def channel_name(channel: int) -> str:
    """Name of a channel number, for example 1 -> "two_tower"; ValueError when there is no such channel."""
    if not 1 <= channel <= len(CHANNELS):
        raise ValueError(f"channel is {channel}; it must be between 1 and {len(CHANNELS)}")
    return CHANNELS[channel - 1]


def channel_names(mask: int) -> tuple[str, ...]:
    """Names of the channels whose bit is set in `mask`, in contract order. Unknown bits are ignored."""
    return tuple(name for bit, name in enumerate(CHANNELS) if mask >> bit & 1)
