"""The drawings of the lecture: chips, threads, memory, copies, timelines, segments. Each returns a figure."""

import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

from effdl import plots
from week01_intro.timeline import schedule

CONTROL, COMPUTE, CACHE, MEMORY = plots.COLOURS[5], plots.COLOURS[0], plots.COLOURS[2], "#b9c0c8"
PALE = "#f3f5f7"


def _box(ax, x, y, width, height, label="", colour=PALE, size=9, ink=None, **style):
    style = {"edgecolor": plots.INK, "linewidth": 0.8, **style}
    ax.add_patch(Rectangle((x, y), width, height, facecolor=colour, **style))
    ink = ink or ("white" if colour in (COMPUTE, CACHE) else plots.INK)
    ax.text(x + width / 2, y + height / 2, label, ha="center", va="center", fontsize=size, color=ink)


def _arrow(ax, start, end, style="-|>", width=1.5, **line):
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle=style, mutation_scale=12, linewidth=width, color=plots.INK, **line
        )
    )


def _canvas(width, height, size, columns=1):
    figure, axes = plt.subplots(1, columns, figsize=size, squeeze=False)
    for ax in axes[0]:
        ax.set(xlim=(0, width), ylim=(0, height))
        ax.set_aspect("equal")
        ax.axis("off")
    return figure, axes[0]


def chips():
    """A CPU and a GPU side by side, with their memories and the bus between them."""
    figure, (ax,) = _canvas(24, 11.4, (8, 4))
    _box(ax, 0.2, 3.2, 9, 7.2)
    ax.text(0.2, 10.7, "CPU: a few cores that each finish one thread fast", fontsize=10, weight="bold")
    for i in range(4):
        x, y = 0.6 + (i % 2) * 4.3, 7.4 - (i // 2) * 2.8
        _box(ax, x, y, 3.9, 2.6)
        _box(ax, x + 0.1, y + 1.35, 1.8, 1.15, "control", CONTROL, 8)
        for lane in range(4):
            _box(ax, x + 2.0 + lane * 0.45, y + 1.35, 0.42, 1.15, "", COMPUTE)
        _box(ax, x + 0.1, y + 0.1, 3.7, 1.15, "L1 and L2 cache", CACHE, 8)
    _box(ax, 0.6, 3.4, 8.2, 1.0, "L3 cache, shared", CACHE, 8)
    _box(ax, 0.2, 0.4, 9, 1.5, "DRAM (host memory)", MEMORY)
    _arrow(ax, (4.7, 1.9), (4.7, 3.2), "<|-|>", 2)
    _box(ax, 14.6, 3.2, 9, 7.2)
    ax.text(14.6, 10.7, "GPU: many SMs, each with many warps", fontsize=10, weight="bold")
    for i in range(24):
        x, y = 14.8 + (i % 6) * 1.46, 8.8 - (i // 6) * 1.42
        _box(ax, x, y, 1.36, 1.32)
        _box(ax, x + 0.06, y + 1.1, 1.24, 0.16, "", CONTROL, linewidth=0.4)
        for lane in range(8):
            column, row = lane % 4, lane // 4
            _box(ax, x + 0.06 + column * 0.315, y + 0.46 + row * 0.3, 0.28, 0.26, "", COMPUTE, linewidth=0.3)
        _box(ax, x + 0.06, y + 0.08, 1.24, 0.3, "", CACHE, linewidth=0.4)
    _box(ax, 14.8, 3.4, 8.6, 0.9, "L2 cache, shared", CACHE, 8)
    _box(ax, 14.6, 0.4, 9, 1.5, "HBM (device memory)", MEMORY)
    for x in (15.5, 17.3, 19.1, 20.9, 22.7):
        _arrow(ax, (x, 1.9), (x, 3.2), "<|-|>", 2)
    _arrow(ax, (9.4, 1.1), (14.4, 1.1), "<|-|>", 1.2)
    ax.text(11.9, 1.45, "PCIe", ha="center", fontsize=9)
    for i, (colour, label) in enumerate(((CONTROL, "control"), (COMPUTE, "arithmetic"), (CACHE, "cache"))):
        _box(ax, 10.0, 8.3 - 0.9 * i, 0.6, 0.6, "", colour)
        ax.text(10.8, 8.6 - 0.9 * i, label, va="center", fontsize=9)
    return figure


def threads():
    """From a grid of blocks to the warps of a block to the SM that runs them."""
    figure, (ax,) = _canvas(24, 10.2, (8, 3.6))
    ax.text(0.2, 9.6, "grid: one kernel launch", fontsize=10, weight="bold")
    for i in range(12):
        chosen = i == 5
        x, y = 0.2 + (i % 4) * 1.5, 6.9 - (i // 4) * 1.9
        _box(ax, x, y, 1.35, 1.7, f"block\n{i}", COMPUTE if chosen else PALE, 8)
    ax.text(0.2, 2.4, "Blocks are independent.\nThey run in any order,\non any SM.", fontsize=9, va="top")
    ax.text(8.2, 9.6, "block: 128 threads, 4 warps", fontsize=10, weight="bold")
    for warp in range(4):
        y = 7.3 - warp * 1.55
        ax.text(8.2, y + 0.62, f"{warp}", va="center", fontsize=9)
        _box(ax, 8.7, y, 5.6, 1.25)
        for lane in range(32):
            _box(
                ax,
                8.8 + (lane % 16) * 0.34,
                y + 0.68 - (lane // 16) * 0.56,
                0.28,
                0.44,
                "",
                COMPUTE,
                linewidth=0.3,
            )
    ax.text(
        8.2,
        2.4,
        "A warp is 32 threads that\nexecute one instruction\nat a time, together.",
        fontsize=9,
        va="top",
    )
    ax.text(16.4, 9.6, "SM: where a block lives", fontsize=10, weight="bold")
    for i in range(4):
        x = 16.4 + i * 1.85
        _box(ax, x, 4.4, 1.75, 4.7)
        _box(ax, x + 0.1, 8.0, 1.55, 0.95, "scheduler", CONTROL, 7)
        _box(ax, x + 0.1, 6.6, 1.55, 1.3, "registers", MEMORY, 7)
        _box(ax, x + 0.1, 5.55, 1.55, 0.95, "32 lanes", COMPUTE, 7)
        _box(ax, x + 0.1, 4.5, 1.55, 0.95, "tensor core", COMPUTE, 6)
    _box(ax, 16.4, 3.3, 7.3, 0.95, "L1 cache and shared memory", CACHE, 8)
    ax.text(
        16.4,
        2.4,
        "Each scheduler picks, every\ncycle, a warp that is ready:\nothers wait for memory.",
        fontsize=9,
        va="top",
    )
    _arrow(ax, (6.2, 5.6), (7.9, 5.6))
    _arrow(ax, (14.5, 5.6), (16.2, 5.6))
    return figure


H100_MIB = {"registers, all SMs": 33, "L1 and shared, all SMs": 33, "L2 cache": 50, "HBM3": 80 * 1024}
H100_GBPS = {"HBM3": 3350, "NVLink, each way": 450, "PCIe 5 x16, each way": 64}


def gpu_memory():
    """Capacities and bandwidths of an H100 SXM GPU, as its maker publishes them (H100 whitepaper, 2022)."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.1))
    for ax, values, label in zip(
        axes, (H100_MIB, H100_GBPS), ("capacity, MiB", "bandwidth, GB/s"), strict=True
    ):
        bars = ax.barh(
            list(values), list(values.values()), 0.65, **plots.bar_styles(3)[2 if ax is axes[0] else 0]
        )
        ax.bar_label(bars, fmt=" {:,.0f}", fontsize=9)
        ax.set(xscale="log", xlim=(10, 30 * max(values.values())), xlabel=label)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    return figure


def copies():
    """The two ways of a byte from host to device: pageable and pinned."""
    figure, axes = _canvas(12, 6.4, (8, 2.5), columns=2)
    for ax, pinned in zip(axes, (False, True), strict=True):
        ax.text(0.2, 6.0, "pinned memory" if pinned else "pageable memory", fontsize=10, weight="bold")
        _box(ax, 0.2, 0.5, 6, 5.1)
        ax.text(0.4, 0.75, "host", fontsize=9)
        _box(ax, 8.8, 0.5, 3, 5.1)
        ax.text(9.0, 0.75, "device", fontsize=9)
        _box(ax, 9.1, 2.6, 2.4, 1.4, "tensor", MEMORY)
        if pinned:
            _box(ax, 1.9, 2.6, 2.6, 1.4, "tensor,\npages locked", CACHE, 8)
            _arrow(ax, (4.6, 3.3), (9.0, 3.3), width=3)
            ax.text(7.5, 3.6, "DMA", ha="center", fontsize=9)
        else:
            _box(ax, 0.6, 4.0, 2.2, 1.2, "tensor", MEMORY)
            _box(ax, 3.3, 2.6, 2.75, 1.4, "staging buffer,\npages locked", CACHE, 7.5)
            _arrow(ax, (1.7, 3.95), (3.25, 3.3), width=3)
            ax.text(0.5, 2.7, "copied by\nthe CPU", fontsize=9)
            _arrow(ax, (6.0, 3.3), (9.0, 3.3), width=3)
            ax.text(7.5, 3.6, "DMA", ha="center", fontsize=9)
    return figure


def timelines(cases):
    """Host and engines over time for several cases: ``{title: kernels}``, drawn to one scale."""
    drawn = {title: schedule(kernels) for title, kernels in cases.items()}
    lanes = {title: ["host", *dict.fromkeys(run.lane for run in runs)] for title, (_, runs) in drawn.items()}
    heights = [len(lanes[title]) for title in drawn]
    figure, axes = plt.subplots(
        len(drawn), 1, figsize=(7.5, 0.75 * len(drawn) + 0.34 * sum(heights)), sharex=True,
        gridspec_kw={"height_ratios": heights}, squeeze=False,
    )  # fmt: skip
    for ax, (title, (launches, runs)) in zip(axes[:, 0], drawn.items(), strict=True):
        for span in (*launches, *runs):
            colour = CONTROL if span.lane == "host" else plots.COLOURS[span.stream]
            hatch = "" if span.lane == "host" else plots.HATCHES[span.stream]
            row = lanes[title].index(span.lane)
            ax.barh(
                row,
                span.end - span.start,
                0.75,
                span.start,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.7,
            )
        total = max(span.end for span in (*launches, *runs))
        ax.axvline(total, color=plots.INK, linewidth=1, linestyle=":", marker="")
        ax.text(total, 0, f" {total:.0f} us", va="center", fontsize=9)
        ax.set_yticks(range(len(lanes[title])), lanes[title])
        ax.set_title(title, fontsize=10)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
    axes[-1, 0].set_xlabel("time, us")
    axes[-1, 0].set_xlim(0, 1.12 * axes[-1, 0].get_xlim()[1])
    return figure


def segments(states, unit=2**20):
    """Segments and blocks of allocators at several moments: ``{title: segments}``, sizes in MiB.

    A live block is filled, a free one is hatched.
    """
    figure, axes = plt.subplots(
        len(states), 1, figsize=(7.5, 0.35 + 0.85 * len(states)), sharex=True, squeeze=False
    )
    for ax, (title, held) in zip(axes[:, 0], states.items(), strict=True):
        at = 0.0
        for segment in held:
            for block in segment.blocks:
                style = {"color": COMPUTE} if block.live else {"color": PALE, "hatch": "////"}
                edge = {"edgecolor": "white" if block.live else MEMORY}
                ax.barh(0, block.size / unit, 0.8, at, **style, **edge)
                if block.size >= 2 * unit:
                    ax.text(
                        at + block.size / unit / 2, 0, f"{block.size / unit:.0f}", ha="center", va="center",
                        color="white" if block.live else plots.INK, fontsize=9,
                    )  # fmt: skip
                at += block.size / unit
            ax.add_patch(
                Rectangle(
                    (at - segment.size / unit, -0.45),
                    segment.size / unit,
                    0.9,
                    fill=False,
                    edgecolor=plots.INK,
                    linewidth=1.5,
                )
            )
            at += 1.0  # a gap between segments
        ax.set(yticks=[], ylim=(-0.6, 0.6))
        ax.set_title(title, fontsize=10, weight="normal")
        ax.grid(visible=False)
    axes[-1, 0].set_xlabel("MiB")
    return figure
