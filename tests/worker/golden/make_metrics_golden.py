#!/usr/bin/env python3
"""Writes metrics.safetensors: scikit-learn's AUROC, average precision and F1-max, and AU-PRO, for metrics_golden_test.cpp.

Needs, from PyPI: numpy, scipy, scikit-learn, safetensors. Run it in this folder. Nothing here is shared with the C++
code.

AU-PRO is computed from its definition (MVTec AD's evaluation code: components are 8-connected; the curve runs from
(0, 0) to (1, 1) over every distinct score as a threshold; it is integrated up to a false-positive rate of 0.3 by the
trapezoid rule, on the straight line between the two points that enclose 0.3; the area is divided by 0.3), by counting
each region's flagged pixels anew at every threshold.

For each case the file holds
  <case>.scores    [images, height, width] float32
  <case>.mask      [images, height, width] uint8, 1 where a pixel is defective
  <case>.expected  [auroc, average precision, F1-max, AU-PRO] float64, over all pixels
"""
import numpy
from safetensors.numpy import save_file
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

LIMIT = 0.3


def f1_max(labels, scores):
    precision, recall, _ = precision_recall_curve(labels, scores)
    total = precision + recall
    return numpy.max(2 * precision * recall / numpy.where(total == 0, 1, total))


def regions(mask):
    found = []
    for image, plane in enumerate(mask):
        labels, count = ndimage.label(plane, numpy.ones((3, 3), int))
        for label in range(1, count + 1):
            where = numpy.zeros(mask.shape, bool)
            where[image] = labels == label
            found.append(where)
    return found


def au_pro(scores, mask):
    normal, parts = mask == 0, regions(mask)
    rate, overlap = [0.0], [0.0]
    for threshold in numpy.unique(scores)[::-1]:
        flagged = scores >= threshold
        rate.append(numpy.count_nonzero(flagged & normal) / numpy.count_nonzero(normal))
        overlap.append(numpy.mean([numpy.count_nonzero(flagged & p) / numpy.count_nonzero(p) for p in parts]))
    rate, overlap = numpy.array(rate), numpy.array(overlap)
    inside = rate <= LIMIT
    last = numpy.flatnonzero(inside)[-1]
    x, y = rate[inside], overlap[inside]
    if rate[last] < LIMIT:
        slope = (overlap[last + 1] - overlap[last]) / (rate[last + 1] - rate[last])
        x, y = numpy.append(x, LIMIT), numpy.append(y, overlap[last] + slope * (LIMIT - rate[last]))
    return numpy.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2) / LIMIT


def blobs(random, shape):
    """Some smooth defects in some of the images, as painted ones are."""
    noise = numpy.stack([ndimage.gaussian_filter(random.standard_normal(shape[1:]), 1.5) for _ in range(shape[0])])
    mask = (noise > numpy.quantile(noise, 0.9)).astype(numpy.uint8)
    mask[0] = 0  # a normal image
    return mask


def specks(random, shape):
    """Many small components, of which many touch by a corner only."""
    return (random.random(shape) < 0.15).astype(numpy.uint8)


def cases():
    shape = (4, 16, 13)
    for seed in range(3):
        for name, make in (("blobs", blobs), ("specks", specks)):
            random = numpy.random.default_rng(seed)
            mask = make(random, shape)
            scores = (random.standard_normal(shape) + 1.2 * mask).astype(numpy.float32)
            yield f"{name}{seed}.random", scores, mask
            yield f"{name}{seed}.tied", numpy.round(2 * scores) / 2, mask
            yield f"{name}{seed}.heavily_tied", (scores > 0.5).astype(numpy.float32), mask
    yield "constant", numpy.full(shape, 2.5, numpy.float32), mask
    yield "perfect", mask.astype(numpy.float32), mask
    yield "worst", -mask.astype(numpy.float32), mask
    # Exactly 30 of 100 normal pixels score 1, so that a point of the curve lies on the limit.
    scores, mask = numpy.zeros((1, 10, 11), numpy.float32), numpy.zeros((1, 10, 11), numpy.uint8)
    mask[0, :, 10] = 1
    scores[0, :3, :10] = 1
    scores[0, 2:7, 10] = 2
    scores[0, 7:9, 10] = 1
    yield "on_the_limit", scores, mask


def main():
    tensors = {}
    for name, scores, mask in cases():
        flat, labels = scores.ravel(), mask.ravel()
        expected = [roc_auc_score(labels, flat), average_precision_score(labels, flat), f1_max(labels, flat),
                    au_pro(scores, mask)]
        tensors[f"{name}.scores"], tensors[f"{name}.mask"] = scores.astype(numpy.float32), mask
        tensors[f"{name}.expected"] = numpy.array(expected, numpy.float64)
        print(f"{name:20} {len(regions(mask)):4} regions", *(f"{value:.6f}" for value in expected))
    save_file(tensors, "metrics.safetensors")


if __name__ == "__main__":
    main()
