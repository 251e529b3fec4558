"""What tests of pictures share: every text of a figure, and whether it can be read."""

import functools
import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg


@functools.lru_cache(maxsize=1)
def texts(figure):
    """Every text that is seen, of the figure and of its axes, with where it is in pixels and whether it is slanted."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    parts = [figure, *figure.subfigs]
    found = [text for part in parts for text in part.texts]
    found += [text for part in parts for text in (part._suptitle, part._supxlabel) if text is not None]
    for axes in figure.axes:
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        found += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [label for at, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True) if low <= at <= high]
    unique = {id(text): text for text in found if text.get_text().strip() and text.get_visible()}
    return [(text.get_text(), text.get_window_extent(renderer), text.get_rotation() % 90 != 0) for text in unique.values()]


def readable(figure, most=10.5):
    """`figure`, after checking that it is at most `most` inches wide, that every text lies within it, and none on another."""
    assert figure.get_figwidth() <= most
    seen, (_, _, width, height) = texts(figure), figure.bbox.bounds
    for text, box, _ in seen:
        assert min(box.x0, box.y0) >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for (one, a, slanted), (other, b, also) in itertools.combinations(seen, 2):
        apart = (slanted and also) or a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, f"{one!r} lies on {other!r}"
    return figure


def words(figure):
    return "\n".join(text for text, *_ in texts(figure))


def pictures(figure):
    """What is drawn as an image, axes by axes."""
    return [np.asarray(picture.get_array()) for axes in figure.axes for picture in axes.get_images()]
