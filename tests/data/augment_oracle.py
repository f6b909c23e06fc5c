# SPDX-License-Identifier: Apache-2.0
"""Prints augment_oracle.h: what torchvision on Pillow makes of an image that both sides compute.

Needs torchvision and Pillow; the tests need only the output: python3 tests/data/augment_oracle.py > tests/data/augment_oracle.h
Operations on values and geometry must agree in every byte, so a hash of them stands there; resampled images are written out,
because Pillow rounds between rows and columns and we do not (tolerance: 1 of 255).
"""
import textwrap

import torchvision
import torchvision.transforms as T
import torchvision.transforms.functional as F
from PIL import Image, __version__ as pillow
from torchvision.transforms.autoaugment import _apply_op

NEAREST, BILINEAR, BICUBIC = T.InterpolationMode.NEAREST, T.InterpolationMode.BILINEAR, T.InterpolationMode.BICUBIC


def image(w, h, channels):
    data = bytes((x * 7 + y * 13 + c * 50 + (x * y * (c + 1)) % 31 * 4) % 220 + 20 for y in range(h) for x in range(w)
                 for c in range(channels))
    return Image.frombytes("RGB" if channels == 3 else "L", (w, h), data)


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 % 2**64
    return h


def distortions():
    cases = [("IDENTITY", 0.0), ("AUTOCONTRAST", 0.0), ("EQUALIZE", 0.0), ("INVERT", 0.0)]
    for op, values in [("SHEAR_X", (0.3, -0.17, 0.99)), ("SHEAR_Y", (0.3, -0.17)), ("TRANSLATE_X", (5.7, -3.0, 30.0)),
                       ("TRANSLATE_Y", (5.7, -3.2)), ("ROTATE", (9.0, -30.0, 135.0)), ("BRIGHTNESS", (0.27, -0.9)),
                       ("COLOR", (0.5, -0.27)), ("CONTRAST", (0.9, -0.33)), ("SHARPNESS", (0.9, -0.99)),
                       ("POSTERIZE", (8.0, 7.0, 4.0, 2.0)), ("SOLARIZE", (255.0, 119.0, 0.0))]:
        cases += [(op, v) for v in values]
    names = {"IDENTITY": "Identity", "AUTOCONTRAST": "AutoContrast", "EQUALIZE": "Equalize", "INVERT": "Invert",
             "SHEAR_X": "ShearX", "SHEAR_Y": "ShearY", "TRANSLATE_X": "TranslateX", "TRANSLATE_Y": "TranslateY",
             "ROTATE": "Rotate", "BRIGHTNESS": "Brightness", "COLOR": "Color", "CONTRAST": "Contrast",
             "SHARPNESS": "Sharpness", "POSTERIZE": "Posterize", "SOLARIZE": "Solarize"}
    for channels in (3, 1):
        for op, v in cases:
            out = _apply_op(image(24, 20, channels), names[op], v, NEAREST, None)
            print(f"    {{FUL__{op}, {v}, {channels}, 0x{fnv(out.tobytes()):016x}u}},")


def hues():
    for shift in (0.1, -0.25, 0.5, -0.013):
        print(f"    {{{shift}, 0x{fnv(F.adjust_hue(image(24, 20, 3), shift).tobytes()):016x}u}},")


def resampled():
    for channels, (y, x, h, w), (oh, ow), mode in [(3, (0, 0, 30, 40), (6, 8), BILINEAR), (3, (3, 5, 20, 31), (6, 8), BILINEAR),
                                                   (3, (3, 5, 20, 31), (6, 8), BICUBIC), (3, (10, 30, 4, 5), (9, 7), BILINEAR),
                                                   (3, (10, 30, 4, 5), (9, 7), BICUBIC), (1, (1, 2, 29, 17), (5, 11), BILINEAR),
                                                   (1, (1, 2, 29, 17), (5, 11), BICUBIC), (3, (2, 2, 1, 1), (3, 3), BILINEAR),
                                                   (3, (5, 6, 8, 7), (8, 7), BICUBIC)]:
        out = F.resized_crop(image(40, 30, channels), y, x, h, w, [oh, ow], mode).tobytes()
        text = textwrap.fill(", ".join(str(b) for b in out), 116, initial_indent="     ", subsequent_indent="     ")
        name = "FUL_FILTER_BICUBIC" if mode == BICUBIC else "FUL_FILTER_BILINEAR"
        print(f"    {{{channels}, {{{y}, {x}, {h}, {w}}}, {oh}, {ow}, {name}, {{\n{text}}}}},")


print("/* SPDX-License-Identifier: Apache-2.0 */")
print(f"/* Printed by augment_oracle.py with torchvision {torchvision.__version__}, Pillow {pillow}. */")
print("/* clang-format off */")
print("static const struct { ful__distortion op; double magnitude; int channels; uint64_t hash; } distortion_cases[] = {")
distortions()
print("};")
print("static const struct { double shift; uint64_t hash; } hue_cases[] = {")
hues()
print("};")
print("static const struct { int channels; ful__rect crop; int h, w; ful_filter filter; uint8_t out[192]; } crop_cases[] = {")
resampled()
print("};")
