"""Images with captions, every pixel a square."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

from xpcls.options import check_integer, check_number
from xpcls_backends import is_array, to_host

from ._marks import MUTED, RULE, SMALL, broken, words
from ._picture import Picture, heading

MARGIN, LINE = 14, 17


def images(
    images: Any,
    captions: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    title: str = "",
    size: float = 150,
) -> Picture:
    """A row of images, or a grid of them, with a caption under each.

    images : (n, H, W, C) or (n, H, W), or a sequence of (H, W, C) or (H, W); uint8, grey or red,
        green and blue. captions : one an image, or None.
    columns : images a row; None for all in one row. size : of the longer edge of each in pixels.

    Raises TypeError or ValueError for other dtypes and shapes, no images, and captions that are
    not as many.
    """
    hosts = [
        _checked(image, i)
        for i, image in enumerate(to_host(images) if is_array(images) else images)
    ]
    if not hosts:
        raise ValueError("images is empty, expected at least one")
    names = [""] * len(hosts) if captions is None else [str(caption) for caption in captions]
    if len(names) != len(hosts):
        raise ValueError(
            f"captions has {len(names)} entries for {len(hosts)} images; give one each"
        )
    check_number("size", size, at_least=8)
    across = len(hosts) if columns is None else columns
    across = min(check_integer("columns", across, at_least=1), len(hosts))
    width = across * size + (across + 1) * MARGIN
    written = [broken(name, size + 8, SMALL) for name in names]
    parts, top = heading(title, width)
    for start in range(0, len(hosts), across):
        row = range(start, min(start + across, len(hosts)))
        high = max(_extent(hosts[i], size)[1] for i in row)
        for i in row:
            left = MARGIN + (i - start) * (size + MARGIN)
            parts += _shown(hosts[i], left, top, size)
            parts += [
                words(
                    left + size / 2,
                    top + high + LINE * (k + 1),
                    line,
                    size=SMALL,
                    anchor="middle",
                    fill=MUTED,
                )
                for k, line in enumerate(written[i])
            ]
        top += high + LINE * max(len(written[i]) for i in row) + MARGIN
    described = "; ".join(filter(None, [title, *names]))
    return Picture("\n".join(parts), width, top, described)


def png_address(image: Any, size: float = 0.0) -> str:
    """A uint8 image (H, W, C) or (H, W) on the host as the address of a PNG: data:image/png;...

    Its pixels become squares of a whole number of pixels, so that the longer edge has `size` or
    more: not every viewer keeps the edges of pixels that it has to stretch.
    """
    from PIL import Image

    grey = image.ndim == 3 and image.shape[2] == 1
    small = Image.fromarray(image[:, :, 0] if grey else image)
    times = max(1, math.ceil(size / max(small.size)))
    buffer = io.BytesIO()
    large = small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)
    large.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _checked(image: Any, i: int) -> Any:
    host = to_host(image)
    if host.dtype != "uint8":
        raise TypeError(
            f"images[{i}] has dtype {host.dtype}, expected uint8; round its values to 0 to 255 and "
            "convert them"
        )
    if (
        host.ndim not in (2, 3)
        or 0 in host.shape
        or (host.ndim == 3 and host.shape[2] not in (1, 3))
    ):
        raise ValueError(
            f"images[{i}] has shape {host.shape}, expected (H, W), (H, W, 1) or (H, W, 3)"
        )
    return host


def _extent(image: Any, size: float) -> tuple[float, float]:
    height, width = image.shape[:2]
    longer = max(height, width)
    return size * width / longer, size * height / longer


def _shown(image: Any, left: float, top: float, size: float) -> list[str]:
    width, height = _extent(image, size)
    x = left + (size - width) / 2
    box = f'x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return [
        f'<image {box} preserveAspectRatio="none" style="image-rendering: pixelated" '
        f'href="{png_address(image, size)}"/>',
        f'<rect {box} fill="none" stroke="{RULE}"/>',
    ]
