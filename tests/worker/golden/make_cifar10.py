"""Makes CIFAR-10's two archives with four images a batch, exactly in the forms of the real ones.

    pip install numpy; python make_cifar10.py

Image i of the training images, and 100 + i of the test images, has the label 7·i mod 10 and at colour c, row y, column
x the value (37·i + 50·c + 3·y + 5·x) mod 256. The real Python version was pickled by Python 2, whose strings
are bytes; Python2Pickler writes as that did.
"""

import gzip
import io
import pathlib
import pickle
import tarfile

import numpy as np

FOLDER = pathlib.Path(__file__).parent


class Python2Pickler(pickle._Pickler):
    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        if len(data) < 256:
            self.write(b"U" + bytes([len(data)]) + data)
        else:
            self.write(b"T" + len(data).to_bytes(4, "little") + data)
        self.memoize(text)

    dispatch[bytes] = dispatch[str] = save_text

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(b"c" + module.encode() + b"\n" + (name or obj.__name__).encode() + b"\n")
        self.memoize(obj)

    dispatch[type] = dispatch[type(len)] = dispatch[type(lambda: 0)] = save_global


def images(first, count):
    i, c, y, x = np.mgrid[first : first + count, 0:3, 0:32, 0:32]
    pixels = (37 * i + 50 * c + 3 * y + 5 * x) % 256
    return [7 * n % 10 for n in range(first, first + count)], pixels.astype(np.uint8).reshape(count, 3072)


def write_tar(name, folder, files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for file, data in files:
            info = tarfile.TarInfo(f"{folder}/{file}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (FOLDER / name).write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


python, binary = [("readme.html", b"<html>")], [("batches.meta.txt", b"airplane\n")]
for batch, first in [("data_batch_4", 12), ("data_batch_1", 0), ("data_batch_2", 4), ("data_batch_3", 8),
                     ("data_batch_5", 16), ("test_batch", 100)]:
    labels, pixels = images(first, 4)
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump({b"batch_label": b"a batch", b"labels": labels, b"data": pixels,
                                             b"filenames": [b"leptodactylus_pentadactylus_s_000004.png"] * 4})
    python.append((batch, buffer.getvalue()))
    binary.append((batch + ".bin", b"".join(bytes([l]) + p.tobytes() for l, p in zip(labels, pixels))))
write_tar("cifar-10-python.tar.gz", "cifar-10-batches-py", python)
write_tar("cifar-10-binary.tar.gz", "cifar-10-batches-bin", binary)
