"""Names of recall channels, for logs, the CLI and people. The numbers are those of the protobuf contract."""

from collections.abc import Iterable

from recstack.api.common.v1 import common_pb2

MASK_BITS = 32
"""Channels that a mask has room for: it is a uint32 of the contract."""

CHANNELS: tuple[str, ...] = tuple(
    name.removeprefix("CHANNEL_").lower()
    for name, value in sorted(common_pb2.Channel.items(), key=lambda i: i[1])
    if value
)
"""Channel names in contract order: channel number = position + 1, bit in a channel mask = position."""


def channel_name(channel: int) -> str:
    """Name of a channel number, for example 1 -> "two_tower"; "channel_9" for one that only a newer server knows."""
    return CHANNELS[channel - 1] if 1 <= channel <= len(CHANNELS) else f"channel_{channel}"


def channel_names(mask: int) -> tuple[str, ...]:
    """Names of the channels whose bit is set in `mask`, in contract order."""
    return tuple(channel_name(bit + 1) for bit in range(mask.bit_length()) if mask >> bit & 1)


def channel_mask(names: Iterable[str]) -> int:
    """The mask whose bits are the channels of these names: what `channel_names` reads. ValueError for other names."""
    mask = 0
    for name in names:
        if name in CHANNELS:
            channel = CHANNELS.index(name) + 1
        elif (number := name.removeprefix("channel_")).isdecimal() and len(CHANNELS) < int(number) <= MASK_BITS:
            channel = int(number)
        else:
            raise ValueError(f"unknown channel {name!r}; channels are {', '.join(CHANNELS)}")
        mask |= 1 << (channel - 1)
    return mask
