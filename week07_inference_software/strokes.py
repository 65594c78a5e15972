"""Ten digits as lines, for a program that draws them with the mouse: points between 0 and 1, x right and y down."""

import math

Stroke = list[tuple[float, float]]


def arc(
    x: float, y: float, width: float, height: float, begin: float, end: float, points: int = 13
) -> Stroke:
    """Part of an ellipse around (x, y); angles in degrees, 0 to the right, growing clockwise."""
    angles = [math.radians(begin + (end - begin) * i / (points - 1)) for i in range(points)]
    return [(x + width * math.cos(a), y + height * math.sin(a)) for a in angles]


DIGITS: dict[int, list[Stroke]] = {
    0: [arc(0.5, 0.5, 0.2, 0.35, -90, 270, 21)],
    1: [[(0.38, 0.3), (0.52, 0.15), (0.52, 0.85)]],
    2: [[*arc(0.48, 0.33, 0.2, 0.18, -170, 40), (0.28, 0.85), (0.74, 0.85)]],
    3: [[*arc(0.45, 0.32, 0.2, 0.17, -150, 90), *arc(0.45, 0.67, 0.22, 0.18, -90, 150)]],
    4: [[(0.5, 0.15), (0.25, 0.6), (0.75, 0.6)], [(0.6, 0.4), (0.6, 0.88)]],
    5: [[(0.7, 0.15), (0.36, 0.15), (0.34, 0.45), *arc(0.48, 0.63, 0.2, 0.2, -100, 150)]],
    6: [[(0.6, 0.12), (0.4, 0.35), (0.32, 0.6), *arc(0.5, 0.67, 0.19, 0.18, 180, 540, 17)]],
    7: [[(0.28, 0.16), (0.72, 0.16), (0.45, 0.88)], [(0.36, 0.52), (0.66, 0.52)]],
    8: [[*arc(0.5, 0.32, 0.16, 0.16, 90, 450, 17), *arc(0.5, 0.67, 0.19, 0.19, -90, 270, 17)]],
    9: [[*arc(0.5, 0.33, 0.18, 0.18, 0, 360, 17), (0.67, 0.5), (0.6, 0.88)]],
}
