"""Test images of a trial with their anomaly maps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional

from hivq.answers import number_of
from hivq.errors import ApiError
from hivq.transport import ATTEMPTS, Broken, Transport, chunks, delay


@dataclass(frozen=True)
class Picture:
    """A test image of a trial's last evaluation. number: its place among the trial's pictures. step: of the model. name: what
    the data set calls the image. score: the image's. map_low, map_high: what black and white of the map stand for. width,
    height: pixels of its PNGs. has_truth: where it is defective is known."""

    trial: str
    number: int
    step: int
    name: str
    class_name: str
    anomalous: bool
    score: float
    map_low: float
    map_high: float
    width: int
    height: int
    has_truth: bool
    _transport: Transport = field(repr=False, compare=False)

    @classmethod
    def of(cls, transport: Transport, trial: str, answer: Mapping[str, Any]) -> Picture:
        return cls(
            trial=trial,
            number=answer["number"],
            step=answer["step"],
            name=answer["name"],
            class_name=answer["class"],
            anomalous=answer["anomalous"],
            score=number_of(answer["score"]),
            map_low=number_of(answer["map_low"]),
            map_high=number_of(answer["map_high"]),
            width=answer["width"],
            height=answer["height"],
            has_truth=answer["truth"] is not None,
            _transport=transport,
        )

    def image(self) -> bytes:
        """The image, a PNG."""
        return self._png("image")

    def truth(self) -> Optional[bytes]:
        """The ground truth, a grey PNG that is white where the image is defective; None where there is none."""
        return self._png("truth") if self.has_truth else None

    def map(self) -> bytes:
        """The anomaly map, a grey PNG: black at map_low, white at map_high."""
        return self._png("map")

    def _png(self, part: str) -> bytes:
        path = f"/trials/{self.trial}/pictures/{self.number}/{part}.png"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._transport.stream(path, {"Accept": "image/png"}) as response:
                    return b"".join(chunks(response))
            except ApiError as refusal:
                if attempt == ATTEMPTS or refusal.status != 503:
                    raise
            except Broken as broken:
                if attempt == ATTEMPTS:
                    cause = broken.__cause__ or broken
                    raise self._transport.unreachable(cause) from cause
            time.sleep(delay(attempt))
        raise AssertionError("unreachable")
