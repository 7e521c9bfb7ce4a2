"""A picture of a run: its losses and its validation mAP over the epochs."""

from pathlib import Path

from cmah.files import atomic_path
from cmah.runs.metrics_log import read_metrics

OTHER = ("epoch", "step", "lr", "loss", "validation", "seconds", "pairs_per_second")


def plot_curves(run: Path) -> Path:
    """Draw curves.png in a run folder from its metrics.jsonl; returns its path.

    Examples:
        >>> from PIL import Image
        >>> picture = plot_curves(Path("demo/run"))
        >>> picture.name, Image.open(picture).size
        ('curves.png', (1100, 440))
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    records = read_metrics(run)
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in records]
    for name in ["loss", *(key for key in records[0] if key not in OTHER)] if records else []:
        colour, width = ("black", 2) if name == "loss" else (None, 1)
        values = [record[name] for record in records]
        losses.plot(epochs, values, label=name.replace("_", "–"), color=colour, linewidth=width)
    losses.set(xlabel="epoch", title="loss and its unweighted parts")
    measured = [record for record in records if "validation" in record]
    first = measured[0]["validation"] if measured else {}
    lengths = [key for key, value in first.items() if isinstance(value, list)]
    for i, bits in enumerate(lengths):
        for direction, line in enumerate(("-", "--")):
            values = [record["validation"][bits][direction] for record in measured]
            label = f"{bits}{' bits' if bits.isdigit() else ''} {'image→shape' if direction == 0 else 'shape→image'}"
            scores.plot([record["epoch"] for record in measured], values, line, color=f"C{i}", label=label)
    scores.set(xlabel="epoch", title="mAP on held-out shapes")
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there is no epoch 2.5
        for line in axes.lines:
            if len(line.get_xdata()) == 1:  # a line of one point cannot be seen
                line.set(marker="o", fillstyle="none" if line.get_linestyle() == "--" else "full")
        if axes.lines:
            axes.legend(fontsize=7)
    path = run / "curves.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
