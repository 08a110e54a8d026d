"""A small drawn image of each product: a silhouette of its kind in the colour of the product."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from PIL import Image, ImageDraw
from tqdm import tqdm

from demo.catalogue import DemoProduct
from demo.vocabulary import load_vocabulary

# Images are drawn larger by this factor and then reduced, for smooth edges.
_SCALE = 4
_BACKGROUNDS = ("#f3efe6", "#e8eef1", "#eef1e6", "#f3e9e7")
# Colours of products that have none.
_PLAIN = ("#4f7cac", "#c0694e", "#6b9080", "#b08968", "#7d5a8c")

# Shapes on a canvas of 100 by 100: p polygon, e ellipse, r rounded box, l line; then the shade (m main, d dark,
# w white) and the coordinates.
_SILHOUETTES: dict[str, str] = {
    "t_shirt": "pm 30 22 42 22 50 29 58 22 70 22 90 40 79 52 70 45 70 84 30 84 30 45 21 52 10 40",
    "sweater": "pm 30 20 70 20 92 74 80 80 70 52 70 84 30 84 30 52 20 80 8 74; rd 38 18 62 25; rd 30 79 70 85",
    "trousers": "pm 30 14 70 14 76 88 57 88 50 38 43 88 24 88; rd 30 13 70 20",
    "dress": "pm 38 14 45 22 55 22 62 14 66 40 84 86 16 86 34 40; rd 34 39 66 44",
    "shoe": "pm 12 42 32 36 46 54 82 60 90 72 12 72; rw 10 71 91 79; lw 42 48 50 42; lw 50 53 57 47",
    "boot": "pm 28 14 58 14 58 54 84 62 88 78 28 78; rd 26 77 90 85",
    "headphones": "lm 22 60 24 38 36 24 50 20 64 24 76 38 78 60; rd 14 52 32 80; rd 68 52 86 80",
    "speaker": "rm 28 14 72 88; ed 36 46 64 74; ew 45 55 55 65; ed 43 22 57 36",
    "cable": "lm 22 26 22 60 34 74 48 60 48 40 62 26 78 40 78 72; rd 15 12 29 30; rd 71 70 85 88",
    "charger": "rm 28 36 72 86; ld 40 36 40 18; ld 60 36 60 18; rw 42 70 58 76",
    "keyboard": "rm 8 34 92 70; rw 15 40 85 46; rw 15 50 85 56; rw 30 60 70 65",
    "mouse": "em 30 16 70 86; ld 50 18 50 44; rw 47 26 53 38",
    "drive": "rm 26 20 74 82; rw 34 30 66 36; ew 62 70 68 76",
    "mug": "ed 58 36 88 70; ew 65 43 81 63; rm 24 26 70 82",
    "kettle": "pm 34 34 66 34 76 84 24 84; ld 32 40 20 24; ld 70 44 88 48 80 76; ed 44 24 56 36",
    "coffee_maker": "rm 22 14 78 28; rm 60 14 78 86; rm 22 76 78 86; pd 28 42 54 42 50 70 32 70",
    "pan": "em 10 34 64 76; ed 17 41 57 69; ld 62 52 94 40",
    "pot": "rm 20 42 80 82; rd 14 34 86 43; ed 44 24 56 36; ld 10 54 22 54; ld 78 54 90 54",
    "knife": "pw 12 44 60 40 60 58 30 58; rm 60 40 92 54",
    "cushion": "pm 14 18 50 22 86 18 82 50 86 82 50 78 14 82 18 50; ew 47 47 53 53",
    "textile": "rm 18 20 82 84; rw 18 62 82 66; rw 18 70 82 73; ld 18 42 82 42",
    "lamp": "pm 34 14 70 34 52 54 22 40; ld 56 36 72 58 50 80; rd 30 80 70 88",
    "floor_lamp": "pm 36 12 64 12 74 40 26 40; ld 50 40 50 86; rd 34 84 66 90",
    "table": "rm 10 36 90 46; ld 18 46 18 86; ld 82 46 82 86",
    "chair": "rm 28 12 40 58; rm 28 52 76 62; ld 32 62 30 88; ld 72 62 74 88",
    "roll": "rm 20 36 84 66; ed 10 34 38 68; ew 16 42 32 60; em 21 48 27 54",
    "dumbbell": "ld 24 50 76 50; rm 12 28 30 72; rm 70 28 88 72",
    "bottle": "rm 34 32 66 90; rd 41 12 59 31; rw 34 54 66 66",
    "tent": "pm 50 18 92 82 8 82; pd 50 40 66 82 34 82",
    "backpack": "ed 36 8 64 34; rm 24 20 76 88; rd 32 54 68 80; rw 46 60 54 64",
    "handbag": "ld 34 44 38 22 50 16 62 22 66 44; pm 18 42 82 42 88 86 12 86; ew 46 54 54 62",
    "wallet": "rm 14 30 86 76; rd 60 44 88 62; ew 66 50 72 56",
    "sunglasses": "em 10 36 46 66; em 54 36 90 66; ld 44 46 50 43 56 46",
    "watch": "rd 38 8 62 92; em 26 26 74 74; ew 33 33 67 67; ld 50 50 50 39; ld 50 50 58 54",
    "jar": "rm 22 42 78 84; rd 20 26 80 42; rw 32 54 68 70",
    "tube": "pm 30 14 70 14 62 76 38 76; rd 38 76 62 90; rw 43 30 57 58",
    "book": "rm 24 12 78 88; rd 24 12 34 88; rw 42 26 70 32; rw 42 38 62 42",
    "pen": "pm 22 66 70 18 82 30 34 78; pd 22 66 34 78 16 84",
    "blocks": "rm 14 52 46 84; rd 50 52 82 84; rm 32 18 64 50; ew 43 29 53 39",
    "plush": "em 24 12 44 32;em 56 12 76 32;em 28 18 72 56;em 26 46 74 90;ew 38 56 62 80;ed 40 32 45 37;ed 55 32 60 37",
    "car": "pm 12 52 28 52 38 30 66 30 78 52 90 72 12 72;ed 20 62 40 82;ed 62 62 82 82;pw 42 36 62 36 68 50 36 50",
    "bag": "pm 26 14 74 14 80 88 20 88; rd 25 12 75 20; ew 36 40 64 68",
    "ring": "em 16 18 84 84; ew 30 32 70 70; rd 42 10 58 26",
    "pot_plant": "pm 24 52 76 52 68 88 32 88; rd 20 44 80 54; lm 50 44 36 18; lm 50 44 50 12; lm 50 44 66 20",
    "hose": "em 14 14 84 84; ew 22 22 76 76; em 28 28 70 70; ew 36 36 62 62; ld 78 62 90 86",
    "shears": "lw 50 48 34 12; lw 50 48 66 12; lm 50 48 30 88; lm 50 48 70 88; ed 45 43 55 53",
    "drill": "rm 14 28 70 52; pm 44 50 66 50 72 78 50 78; ld 70 40 92 40; rd 44 76 80 90",
}
_SAME_AS: dict[str, str] = {
    "jacket": "sweater", "robe": "sweater", "sandal": "shoe", "earbuds": "headphones", "powerbank": "drive",
    "laptop_stand": "table", "french_press": "coffee_maker", "moka": "kettle", "bed": "textile", "towel": "textile",
    "blanket": "textile", "rug": "textile", "basket": "handbag", "desk_lamp": "lamp", "pendant_lamp": "floor_lamp",
    "desk": "table", "shelf": "table", "armchair": "chair", "yoga_mat": "roll", "sleeping_bag": "roll",
    "block": "blocks", "kettlebell": "dumbbell", "band": "ring", "lantern": "jar", "dropper": "bottle",
    "pump": "bottle", "perfume": "bottle", "diffuser": "bottle", "candle": "jar", "puzzle": "blocks",
    "board_game": "blocks", "toy_car": "car", "pet_food": "bag", "leash": "cable", "collar": "ring",
    "pet_bed": "cushion", "scratcher": "floor_lamp", "ball": "ring", "watering_can": "kettle",
    "plant_pot": "pot_plant", "raised_bed": "pot_plant", "trowel": "pen", "notebook": "book", "tea": "jar",
    "coffee_bag": "bag", "snack_bag": "bag", "chocolate": "wallet",
}  # fmt: skip


def draw(product: DemoProduct, size: int = 96) -> bytes:
    """A square PNG, `size` pixels wide. The same product always has the same bytes."""
    mark = zlib.crc32(product.id.encode())
    color = next(iter(product.attributes.get("colour", ())), "")
    main = load_vocabulary().colors.get(color, _PLAIN[zlib.crc32(product.brand.encode()) % len(_PLAIN)])
    shades = {"m": main, "d": _darker(main), "w": "#fbfbf8"}
    unit = size * _SCALE / 100
    image = Image.new("RGB", (size * _SCALE, size * _SCALE), _BACKGROUNDS[mark % len(_BACKGROUNDS)])
    canvas = ImageDraw.Draw(image)
    for shape in _SILHOUETTES[_SAME_AS.get(product.picture, product.picture)].split(";"):
        kind, *numbers = shape.split()
        form, shade = kind[0], kind[1]
        points = [float(number) * unit for number in numbers]
        pairs = list(zip(points[::2], points[1::2], strict=True))
        outline = _darker(main)
        if form == "p":
            canvas.polygon(pairs, fill=shades[shade], outline=outline, width=round(unit))
        elif form == "e":
            canvas.ellipse(points, fill=shades[shade], outline=outline, width=round(unit))
        elif form == "r":
            canvas.rounded_rectangle(points, radius=3 * unit, fill=shades[shade], outline=outline, width=round(unit))
        else:
            canvas.line(pairs, fill=shades[shade], width=round(5 * unit), joint="curve")
    small = image.resize((size, size), Image.Resampling.LANCZOS).quantize(24)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def write_pictures(directory: Path, products: list[DemoProduct]) -> None:
    """Writes `<id>.png` for each product."""
    directory.mkdir(parents=True, exist_ok=True)
    for product in tqdm(products, desc="pictures", unit="picture"):
        (directory / f"{product.id}.png").write_bytes(draw(product))


def _darker(color: str) -> str:
    return "#" + "".join(f"{int(int(color[start : start + 2], 16) * 0.68):02x}" for start in (1, 3, 5))
