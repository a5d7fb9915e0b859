"""Makes small image files of every kind that image_file.h reads, and what Pillow makes of them.

    pip install pillow numpy pypng tifffile imagecodecs safetensors; python make_images.py

Writes images/* and images.safetensors: for each file its pixels, uint8 [H, W, 3], or [H, W] for a mask.
"""

import pathlib
import struct

import numpy as np
import png
import tifffile
from PIL import Image
from safetensors.numpy import save_file

FOLDER = pathlib.Path(__file__).parent / "images"
H, W = 19, 27
expected = {}

# A picture with edges, ramps and noise, so that a wrong order, filter or upsampling shows.
rng = np.random.default_rng(7)
y, x = np.mgrid[0:H, 0:W]
ramp = np.stack([x * 9 % 256, y * 13 % 256, (x + y) * 5 % 256], axis=2)
rgb = ((ramp + rng.integers(0, 40, (H, W, 3)) + 90 * ((x // 6 + y // 5) % 2)[..., None]) % 256).astype(np.uint8)
grey = rgb[..., 0]
alpha = (x * 255 // (W - 1)).astype(np.uint8)
wide = (rgb.astype(np.uint16) << 8) | rng.integers(0, 256, (H, W, 3)).astype(np.uint16)
rgba = np.dstack([rgb, alpha])


def expect(name, pixels=None):
    """The pixels of a file; without any, Pillow's."""
    if pixels is None:
        pixels = np.asarray(Image.open(FOLDER / name).convert("RGB"))
    pixels = np.ascontiguousarray(pixels)
    assert pixels.dtype == np.uint8 and pixels.ndim in (2, 3), name
    expected[name] = pixels


def three(plane):
    return np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)


def make_png():
    def write(name, rows, pixels=None, **kind):
        with open(FOLDER / name, "wb") as file:
            png.Writer(W, H, **kind).write(file, np.asarray(rows).reshape(H, -1).tolist())
        expect(name, pixels)

    write("rgb8.png", rgb, greyscale=False)
    write("rgb8-interlaced.png", rgb, greyscale=False, interlace=True)
    write("rgba8.png", rgba, greyscale=False, alpha=True)
    write("rgb8-transparent.png", rgb, greyscale=False, transparent=tuple(int(v) for v in rgb[0, 0]))
    write("rgb16.png", wide, greyscale=False, bitdepth=16)
    write("rgba16.png", np.dstack([wide, wide[..., :1]]), greyscale=False, alpha=True, bitdepth=16)
    write("grey8.png", grey, greyscale=True)
    write("grey8-alpha.png", np.dstack([grey, alpha]), greyscale=True, alpha=True)
    write("grey16.png", wide[..., 0], three(wide[..., 0] >> 8), greyscale=True, bitdepth=16)
    for bits in (1, 2, 4):
        write(f"grey{bits}.png", grey >> (8 - bits), greyscale=True, bitdepth=bits)
        colours = [tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2**bits)]
        write(f"palette{bits}.png", grey >> (8 - bits), palette=colours, bitdepth=bits)
    colours = [tuple(int(v) for v in rng.integers(0, 256, 4)) for _ in range(256)]
    write("palette8-transparent.png", grey, palette=colours, bitdepth=8)


def make_jpeg():
    def write(name, image, **options):
        image.save(FOLDER / name, "JPEG", **options)
        expect(name)

    picture = Image.fromarray(rgb)
    for name, sampling in (("444", 0), ("422", 1), ("420", 2)):
        write(f"rgb-{name}.jpg", picture, quality=90, subsampling=sampling)
    write("progressive.jpg", picture, quality=80, progressive=True)
    write("restarts.jpg", picture, quality=80, restart_marker_blocks=2)
    write("grey.jpg", Image.fromarray(grey), quality=90)
    write("cmyk.jpg", Image.fromarray(rgba, "CMYK"), quality=95)


def make_tiff():
    def write(name, image, **options):
        image.save(FOLDER / name, "TIFF", **options)
        expect(name)

    picture = Image.fromarray(rgb)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "jpeg"):
        write(f"rgb-{compression.removeprefix('tiff_')}.tif", picture, compression=compression)
    write("grey.tif", Image.fromarray(grey), compression="tiff_lzw")
    write("palette.tif", picture.quantize(40))
    write("rgba.tif", Image.fromarray(rgba, "RGBA"))
    write("cmyk.tif", Image.fromarray(rgba, "CMYK"))
    write("bilevel-group4.tif", Image.fromarray(grey > 100), compression="group4")
    write("turned.tif", picture, tiffinfo={274: 6})

    def raw(name, data, pixels, **options):
        tifffile.imwrite(FOLDER / name, data, metadata=None, **options)
        expect(name, pixels)

    raw("grey16.tif", wide[..., 0], three(wide[..., 0] >> 8), photometric="minisblack")
    raw("grey16-big-endian.tif", wide[..., 0], three(wide[..., 0] >> 8), photometric="minisblack", byteorder=">")
    raw("grey-white-is-zero.tif", grey, three(255 - grey), photometric="miniswhite")
    raw("rgb16-lzw.tif", wide, (wide >> 8).astype(np.uint8), photometric="rgb", compression="lzw", predictor=True)
    raw("rgb-planes.tif", np.moveaxis(rgb, 2, 0), rgb, photometric="rgb", planarconfig="separate")
    raw("rgb-tiles.tif", rgb, rgb, photometric="rgb", tile=(16, 16), compression="deflate")
    raw("rgb16-tiled-planes.tif", np.moveaxis(wide, 2, 0), (wide >> 8).astype(np.uint8), photometric="rgb",
        planarconfig="separate", tile=(16, 16))
    raw("big.tif", rgb, rgb, photometric="rgb", bigtiff=True)
    for name, data in (("float.tif", grey / 255.0), ("signed.tif", wide[..., 0].astype(np.int16)),
                       ("grey32.tif", wide[..., 0].astype(np.uint32))):
        tifffile.imwrite(FOLDER / name, data if name != "float.tif" else data.astype(np.float32), metadata=None,
                         photometric="minisblack")


def make_bmp():
    def write(name, image):
        image.save(FOLDER / name, "BMP")
        expect(name)

    picture = Image.fromarray(rgb)
    write("rgb24.bmp", picture)
    write("bgra32.bmp", Image.fromarray(rgba, "RGBA"))
    write("grey8.bmp", Image.fromarray(grey))
    write("palette8.bmp", picture.quantize(30))
    write("bilevel.bmp", Image.fromarray(grey > 100))

    def raw(name, bits, rows, height=H, compression=0, behind=b"", colours=0):
        """rows: bytes of each row as stored; behind: masks or palette."""
        body = b"".join(row + bytes(-len(row) % 4) for row in rows)
        start = 14 + 40 + len(behind)
        header = struct.pack("<2sIHHI", b"BM", start + len(body), 0, 0, start)
        header += struct.pack("<IiiHHIIiiII", 40, W, height, 1, bits, compression, len(body), 2835, 2835, colours, 0)
        (FOLDER / name).write_bytes(header + behind + body)

    r, g, b = (rgb[..., c].astype(np.uint16) for c in range(3))
    raw("rgb555.bmp", 16, [row.tobytes() for row in ((r >> 3) << 10 | (g >> 3) << 5 | b >> 3)[::-1]])
    expect("rgb555.bmp")
    raw("rgb565.bmp", 16, [row.tobytes() for row in ((r >> 3) << 11 | (g >> 2) << 5 | b >> 3)[::-1]], compression=3,
        behind=struct.pack("<3I", 0xF800, 0x07E0, 0x001F))
    expect("rgb565.bmp")
    raw("top-down.bmp", 24, [row.tobytes() for row in rgb[..., ::-1]], height=-H)
    expect("top-down.bmp")
    colours = rng.integers(0, 256, (16, 4)).astype(np.uint8)
    index = np.pad(grey >> 4, ((0, 0), (0, W % 2)))
    raw("palette4.bmp", 4, [(row[0::2] << 4 | row[1::2]).tobytes() for row in index[::-1]], behind=colours.tobytes())
    expect("palette4.bmp")
    raw("run-length.bmp", 8, [b"\x00\x01"], compression=1, behind=bytes(1024))


def make_masks():
    """Labels 0 to 3, as VisA's masks hold them."""
    labels = ((x // 9 + y // 7) % 4).astype(np.uint8)
    truth = (labels != 0).astype(np.uint8)
    Image.fromarray(labels).save(FOLDER / "mask-labels8.png")
    with open(FOLDER / "mask-labels16.png", "wb") as file:
        png.Writer(W, H, greyscale=True, bitdepth=16).write(file, labels.astype(np.uint16).tolist())
    Image.fromarray(truth * 255).save(FOLDER / "mask-white.png")
    Image.fromarray(truth == 1).save(FOLDER / "mask-bilevel.png")
    tifffile.imwrite(FOLDER / "mask-labels16.tif", labels.astype(np.uint16), metadata=None, photometric="minisblack")
    picture = Image.fromarray(labels, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255])
    picture.save(FOLDER / "mask-palette.png")
    with open(FOLDER / "mask-alpha16.png", "wb") as file:  # opaque everywhere, which is no defect
        both = np.dstack([labels.astype(np.uint16), np.full((H, W), 65535, np.uint16)])
        png.Writer(W, H, greyscale=True, alpha=True, bitdepth=16).write(file, both.reshape(H, -1).tolist())
    for path in FOLDER.glob("mask-*"):
        expect(path.name, truth)


FOLDER.mkdir(exist_ok=True)
make_png()
make_jpeg()
make_tiff()
make_bmp()
make_masks()
save_file(dict(sorted(expected.items())), FOLDER.parent / "images.safetensors")
print(f"{len(expected)} files, {sum(f.stat().st_size for f in FOLDER.iterdir())} bytes")
