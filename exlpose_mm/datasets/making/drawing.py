"""Draws scenes with people whose joints are known exactly.

Each person is a three-dimensional stick figure in a random pose, turned to a random side and
painted part by part from back to front. Which side is left shows as in reality only: by the
face, the back of the head, the feet and what hides what.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from exlpose_mm.joints import JOINTS

SMALLEST = 64  # pixels

Size = tuple[int, int]
"""Width and height in pixels."""
Range = tuple[int, int]
"""Fewest and most."""
Points = dict[str, np.ndarray]
"""Of a body, (3,) by name."""
Part = tuple[tuple[str, ...], ArrayLike, str, float]
"""Of a body: point names, their radii in body heights, garment, how much nearer than its points."""
Cloth = tuple[np.ndarray, np.ndarray]
"""A colour tile (h, w, 3) float32 and the map (2, 2) from pixels to it."""

# Ranges of angles in degrees. A limb hangs down at 0; `arm` and `thigh` swing it forward, `out`
# and `spread` away from the body; `elbow`, `elbow_out` and `knee` bend it further.
STANDING = dict(
    arm=(-12, 18),
    out=(4, 18),
    elbow=(4, 35),
    elbow_out=(-10, 8),
    thigh=(-5, 8),
    spread=(0, 9),
    knee=(0, 8),
    stride=(0, 6),
    lean=(-4, 7),
    roll=(-4, 4),
)
POSES = dict(
    standing=STANDING,
    walking=dict(STANDING, stride=(14, 32), knee=(3, 35), lean=(0, 9)),
    holding=dict(STANDING, arm=(0, 35), elbow=(60, 120), elbow_out=(-35, 5)),
    akimbo=dict(STANDING, out=(32, 52), elbow_out=(-105, -75), elbow=(0, 15), spread=(3, 14)),
    waving=dict(STANDING, out=(60, 165), elbow_out=(-10, 70), elbow=(0, 15), spread=(0, 16)),
    reaching=dict(STANDING, arm=(60, 165), elbow=(0, 50), stride=(0, 18)),
    crouching=dict(
        STANDING, thigh=(55, 100), knee=(75, 125), spread=(5, 25), lean=(8, 32), arm=(10, 60), elbow=(10, 80)
    ),
)

SKIN = ((150, 180, 225), (110, 145, 200), (75, 105, 160), (50, 70, 105))  # BGR
HAIR = ((25, 25, 30), (30, 45, 75), (60, 110, 160), (150, 150, 155))
CIRCLE = np.stack([f(np.linspace(0, 2 * np.pi, 20, endpoint=False)) for f in (np.cos, np.sin)], 1)


def rotation(axis: int, degrees: float) -> np.ndarray:
    return cv2.Rodrigues(np.eye(3)[axis] * np.radians(degrees))[0]


def limb(length: float, swing: float, out: float, side: int) -> np.ndarray:
    """A limb's vector (3,), `side` +1 for the left and -1 for the right half of the body."""
    swing, out = np.radians((swing, out))
    return length * np.array([side * np.sin(out), np.cos(out) * np.cos(swing), np.cos(out) * np.sin(swing)])


def pose_body(rng: np.random.Generator) -> Points:
    """Poses one person: {point name: (3,)} in body heights, origin between the hips.

    x points to the person's left, y down, z to where the person faces. Beside the 14 joints
    there are the points that only the drawing needs: hands, toes and the parts of the head.
    """
    ranges = POSES[rng.choice(list(POSES))]
    angle = {name: rng.uniform(*limits, 2) for name, limits in ranges.items()}
    shoulder, hip, head, leg = np.array((0.11, 0.07, 0.17, 0.245)) * rng.uniform(0.92, 1.08, 4)
    stride = angle['stride'][0] * rng.choice((-1, 1))
    torso = rotation(2, angle['roll'][0]) @ rotation(0, -angle['lean'][0])
    body = {'neck': torso @ (0, -0.3, 0)}
    for side, i, name in ((1, 0, 'left_'), (-1, 1, 'right_')):
        arm, out = angle['arm'][i] - side * stride, angle['out'][i]
        bent = arm + angle['elbow'][i], out + angle['elbow_out'][i], side
        thigh, spread = angle['thigh'][i] + side * stride, angle['spread'][i]
        shank = thigh - angle['knee'][i], spread * 0.4, side
        for joint, start, offset in (
            ('shoulder', 'neck', torso @ (side * shoulder, 0.025, 0)),
            ('elbow', name + 'shoulder', limb(0.165, arm, out, side)),
            ('wrist', name + 'elbow', limb(0.145, *bent)),
            ('hand', name + 'wrist', limb(0.05, *bent)),
            ('hip', '', np.array((side * hip, 0, 0))),
            ('knee', name + 'hip', limb(leg, thigh, spread, side)),
            ('ankle', name + 'knee', limb(leg, *shank)),
            ('toe', name + 'ankle', np.array((side * 0.02, 0.025, 0.085))),
        ):
            body[name + joint] = body.get(start, 0) + offset
    turn = torso @ rotation(1, rng.normal(0, 20)) * head
    for point, offset in (
        ('head', (0, -1, 0)),
        ('chin', (0, -0.4, 0.08)),
        ('brow', (0, -0.62, 0.06)),
        ('hair', (0, -0.64, -0.08)),
        ('nape', (0, -0.5, -0.12)),
        ('nose', (0, -0.46, 0.38)),
        ('left_eye', (0.13, -0.58, 0.31)),
        ('right_eye', (-0.13, -0.58, 0.31)),
    ):
        body[point] = body['neck'] + turn @ offset
    return body


def view_body(rng: np.random.Generator, body: Points) -> Points:
    """Turns a posed body (any size) towards the camera: x right, y down, z towards the viewer."""
    yaw = rng.choice((0, 180, 90, -90), p=(0.4, 0.24, 0.18, 0.18)) + rng.normal(0, 18)
    camera = rotation(2, rng.normal(0, 3)) @ rotation(0, rng.uniform(0, 15)) @ rotation(1, yaw)
    return {name: camera @ point for name, point in body.items()}


def body_parts(rng: np.random.Generator) -> list[Part]:
    """The parts of a body."""
    sleeve = rng.choice(('shirt', 'skin'), p=(0.6, 0.4))
    trouser = rng.choice(('trousers', 'skin'), p=(0.75, 0.25))
    bulk = rng.uniform(0.9, 1.3)
    torso = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip')
    parts: list[Part] = [
        (torso, np.array((0.04, 0.04, 0.05, 0.05)) * bulk, 'shirt', 0.01),
        (('neck', 'chin'), (0.03, 0.03), 'skin', 0),
        (('chin', 'brow'), (0.042, 0.053), 'skin', 0),
        (('hair', 'nape'), (0.062, 0.05), 'hair', 0),
        (('nose',), (0.009,), 'skin', 0),
        (('left_eye',), (0.007,), 'eye', 0),
        (('right_eye',), (0.007,), 'eye', 0),
    ]
    if rng.random() < 0.4:  # long hair
        parts.append((('hair', 'nape', 'neck'), (0.055, 0.05, 0.04), 'hair', -0.05))
    for side in ('left_', 'right_'):
        for start, end, radii, garment, nearer in (
            ('shoulder', 'elbow', (0.037, 0.031), 'shirt', 0.035),
            ('elbow', 'wrist', (0.03, 0.022), sleeve, 0.045),
            ('wrist', 'hand', (0.02, 0.02), 'skin', 0.045),
            ('hip', 'knee', (0.056, 0.042), 'trousers', 0),
            ('knee', 'ankle', (0.04, 0.028), trouser, -0.002),
            ('ankle', 'toe', (0.028, 0.02), 'shoes', -0.001),
        ):
            thickness = 1 if garment in ('skin', 'shoes') else bulk
            parts.append(((side + start, side + end), np.multiply(radii, thickness), garment, nearer))
    return parts


def plain(colour: ArrayLike) -> Cloth:
    return np.array(colour, np.float32).reshape(1, 1, 3), np.eye(2)


def texture(rng: np.random.Generator) -> Cloth:
    """A random cloth or wall."""
    first = rng.uniform(15, 240, 3)
    second = np.clip(first + rng.normal(0, 60, 3), 0, 255)
    pattern = (np.zeros((1, 1)), np.array([[0, 1]]), np.eye(2), rng.random((8, 8)))[
        rng.choice(4, p=(0.45, 0.2, 0.15, 0.2))
    ]
    tile = first + np.kron(pattern, np.ones((4, 4)))[..., None] * (second - first)
    return tile.astype(np.float32), rotation(2, rng.uniform(0, 180))[:2, :2] * rng.uniform(0.4, 1.6)


def cut(cloth: Cloth, x: int, y: int, size: Sequence[int]) -> np.ndarray:
    """The piece (h, w, 3) of a texture that covers `size` (w, h) pixels from (x, y) on."""
    tile, turn = cloth
    return cv2.warpAffine(
        tile,
        np.column_stack([turn, turn @ (x, y)]),
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )


def noise(rng: np.random.Generator, shape: tuple[int, ...], cells: int) -> np.ndarray:
    """Smooth noise of unit variance in its grid points, float32 (h, w)."""
    grid = rng.standard_normal((max(2, cells * shape[0] // shape[1]), cells), np.float32)
    return cv2.resize(grid, shape[1::-1], interpolation=cv2.INTER_LINEAR)


def three(channel: np.ndarray) -> np.ndarray:
    """The same float32 (h, w) in each of three channels; faster than NumPy's broadcasting."""
    return cv2.cvtColor(channel, cv2.COLOR_GRAY2BGR)


def paint(image: np.ndarray, outline: np.ndarray, cloth: Cloth, shade: float = 1.0, softness: float = 2.0) -> None:
    """Fills a convex outline (N, 2) in pixels with a texture, darker towards its rim."""
    height, width = image.shape[:2]
    x0, y0 = np.maximum(np.floor(outline.min(0)) - 2, 0).astype(int)
    x1, y1 = np.minimum(np.ceil(outline.max(0)) + 3, (width, height)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    cv2.fillConvexPoly(mask, np.round((outline - (x0, y0)) * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    alpha = mask / np.float32(255)
    light = np.float32(shade) * (0.35 + 0.65 * cv2.GaussianBlur(alpha, (0, 0), softness))
    part = image[y0:y1, x0:x1]
    colours = cut(cloth, x0, y0, mask.shape[::-1])
    part += three(alpha) * (colours * three(light) - part)


def hull(centres: ArrayLike, radii: ArrayLike) -> np.ndarray:
    """The convex outline (N, 2) around circles at `centres` (M, 2) with `radii` (M,)."""
    points = np.asarray(centres)[:, None] + np.asarray(radii)[:, None, None] * CIRCLE
    return cv2.convexHull(points.reshape(-1, 2).astype(np.float32))[:, 0]


def draw_person(rng: np.random.Generator, image: np.ndarray, points: Points, height: float) -> None:
    """Paints a person whose `points` are (3,) in pixels, `height` pixels tall when upright."""
    wardrobe = dict(
        skin=plain(rng.choice(SKIN)),
        hair=plain(rng.choice(HAIR)),
        eye=plain((15, 15, 15)),
        shirt=texture(rng),
        trousers=texture(rng),
        shoes=plain(rng.uniform(10, 220, 3)),
    )

    def nearness(part: Part) -> float:
        return np.mean([points[name][2] for name in part[0]]) / height + part[3]

    for part in sorted(body_parts(rng), key=nearness):
        names, radii, garment, _ = part
        shade = np.clip(0.95 + nearness(part), 0.65, 1.15)
        outline = hull([points[name][:2] for name in names], np.multiply(radii, height))
        paint(image, outline, wardrobe[garment], shade, max(1.0, 0.012 * height))


def place_person(rng: np.random.Generator, size: Size, x: float) -> tuple[Points, float]:
    """Poses a person and places its hips at x: (points in pixels, height in pixels)."""
    points = view_body(rng, pose_body(rng))
    frame, reach = size[1], min(size)
    if rng.random() < 0.12:  # a close-up that the frame cuts off below
        height = reach * rng.uniform(1.0, 1.4)
        y = rng.uniform(0.08, 0.2) * frame - points['head'][1] * height
    else:
        height = reach * rng.uniform(0.4, 0.92)
        floor = min(1.0, 0.66 + 0.36 * height / frame + rng.uniform(-0.06, 0.06)) * frame
        y = floor - max(point[1] for point in points.values()) * height
    return {name: point * height + (x, y, 0) for name, point in points.items()}, height


def place_people(rng: np.random.Generator, size: Size, people: Range | None = None) -> list[tuple[Points, float]]:
    """People from the farthest to the nearest, each in a strip of its own: so many, or one to three."""
    count = rng.integers(people[0], people[1] + 1) if people else rng.choice((1, 2, 3), p=(0.45, 0.35, 0.2))
    strips = np.clip((np.arange(count) + rng.uniform(0.1, 0.9, count)) / count, 0.1, 0.9)
    placed = [place_person(rng, size, x * size[0]) for x in strips]
    return sorted(placed, key=lambda person: person[1])


def draw_background(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Wall, floor, clutter and lamps, float32 of `shape` (h, w, 3) in 0..255."""
    height, width = shape[:2]
    image = cv2.resize(rng.uniform(20, 220, (2, 1, 3)).astype(np.float32), (width, height))
    horizon = int(height * rng.uniform(0.5, 0.8))
    floor = cut(texture(rng), 0, horizon, (width, height - horizon))
    image[horizon:] += 0.6 * (floor - image[horizon:])
    for _ in range(rng.integers(5, 14)):
        centre, extent = rng.uniform(0, (width, horizon * 1.1)), height * rng.uniform(0.02, 0.3, 2)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
        outline = (corners if rng.random() < 0.6 else CIRCLE) * extent
        outline = outline @ rotation(2, rng.normal(0, 15))[:2, :2] + centre
        paint(image, outline, texture(rng), rng.uniform(0.6, 1.1))
    light = sum(noise(rng, shape, cells) * np.float32(rng.uniform(2, 11)) for cells in (4, 12, 40, 120))
    for _ in range(rng.integers(0, 4)):
        centre, radius = rng.uniform(0, (width, 0.5 * height)), rng.uniform(0.02, 0.09) * height
        light += lamp(shape, centre, radius)
    return image + three(light)


def lamp(shape: tuple[int, ...], centre: np.ndarray, radius: float) -> np.ndarray:
    """A soft round light, float32 (h, w) in 0..220."""
    x, y = (np.exp(-0.5 * ((np.arange(n) - c) / radius) ** 2).astype(np.float32) for n, c in zip(shape[1::-1], centre))
    return 220 * np.outer(y, x)


def draw_obstacle(rng: np.random.Generator, image: np.ndarray) -> None:
    """A pole, or a box on the ground, in front of everybody drawn so far."""
    height, width = image.shape[:2]
    x = rng.uniform(0, width)
    if rng.random() < 0.5:
        half = rng.uniform(0.008, 0.025) * width
        outline = hull([(x, rng.uniform(-0.1, 0.4) * height), (x, 1.1 * height)], (half, half))
    else:
        half, top = rng.uniform(0.04, 0.14) * width, rng.uniform(0.72, 0.92) * height
        outline = np.array([(-half, top), (half, top), (half, height), (-half, height)]) + (x, 0)
    paint(image, outline, texture(rng), rng.uniform(0.6, 1.1))


def label_person(points: Points, height: float, size: Size) -> dict:
    """ExLPose's label of one person; what other people or things hide is labelled all the same."""
    joints = np.array([points[name][:2] for name in JOINTS])
    inside = np.all((joints >= 0) & (joints <= np.array(size) - 1), axis=1)
    keypoints = np.column_stack([joints.round(2), np.full(len(joints), 2.0)]) * inside[:, None]
    margin = 0.05 * height
    low = np.maximum(joints[inside].min(0) - margin, 0)
    high = np.minimum(joints[inside].max(0) + margin, size)
    return dict(keypoints=keypoints, bbox=[float(v) for v in (*low, *(high - low))])


def check_size(size: Size) -> Size:
    width, height = size
    if min(width, height) < SMALLEST:
        raise ValueError(f'size is (width, height) in pixels, each at least {SMALLEST}; got {size}')
    return int(width), int(height)


def check_people(people: Range) -> Range:
    low, high = people
    if not 1 <= low <= high:
        raise ValueError(f'people is (fewest, most) an image, 1 <= fewest <= most; got {people}')
    return int(low), int(high)


def draw_scene(
    rng: np.random.Generator, size: Size = (320, 240), people: Range | None = None
) -> tuple[np.ndarray, list[dict]]:
    """Draws a scene with several people.

    Args:
        rng (np.random.Generator): the only source of randomness.
        size (tuple[int, int]): (w, h) of the image in pixels, each at least 64.
        people (tuple[int, int], optional): fewest and most of them, all numbers as often. Defaults to one to three,
            fewer more often.

    Returns:
        tuple: the image (h, w, 3) uint8 BGR, and a list with one dict a person: ``keypoints``
        (14, 3) float of x, y in pixels and visibility 2, or three zeros outside the frame;
        ``bbox`` [x, y, w, h] in pixels, clipped to the frame.

    Raises:
        ValueError: a side is shorter than 64 pixels, or not 1 <= fewest <= most.
    """
    size = check_size(size)
    people = people and check_people(people)
    image = draw_background(rng, (size[1], size[0], 3))
    placed = place_people(rng, size, people)
    for points, height in placed:
        draw_person(rng, image, points, height)
        if rng.random() < 0.25:
            draw_obstacle(rng, image)
    image = cv2.GaussianBlur(image, (0, 0), 0.6)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.5, 3))
    labels = [label_person(points, height, size) for points, height in placed]
    return np.clip(image * rng.uniform(0.75, 1.1), 0, 255).round().astype(np.uint8), labels
