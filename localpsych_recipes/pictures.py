"""What all pictures share: matplotlib as it comes, colours that all can tell apart, the same bytes each time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 100
# Okabe and Ito, "Color Universal Design" (2008): told apart with every kind of colour vision
BLUE, ORANGE, NEUTRAL = "#0072B2", "#E69F00", "#999999"
LOOKS = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def png(inches: tuple[float, float], draw: Callable[[Figure], None], **looks: object) -> bytes:
    """What `draw` puts on a figure of this size, 100 dots per inch; the same bytes for the same drawing."""
    with _matplotlib(looks):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.2, h_pad=0.2)
        draw(figure)
        file = BytesIO()
        FigureCanvasAgg(figure).print_png(file, metadata={"Software": None})
    return file.getvalue()


@contextmanager
def _matplotlib(looks: dict[str, object]) -> Iterator[None]:
    """matplotlib as it comes, whatever the user's settings are; its first import would write into the user's home."""
    with tempfile.TemporaryDirectory(prefix="localpsych-") as folder:
        own = "MPLCONFIGDIR" not in os.environ
        if own:
            os.environ["MPLCONFIGDIR"] = folder
        try:
            import matplotlib

            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                matplotlib.rcParams.update(LOOKS | looks)
                yield
        finally:
            if own:
                del os.environ["MPLCONFIGDIR"]
