# SPDX-License-Identifier: GPL-2.0
"""The results as tables and as a plot."""

from collections.abc import Sequence
from pathlib import Path

from .jobs import EXITS, FLUSHES, JOBS, MEDIA, VARIANTS
from .run import Result
from .stats import mean_interval, ratio_interval

# Which is better, by the name of the value.
_BETTER = {"instructions": "fewer is better", "iops": "more is better"}


class Samples:
    """The values of one kind of measurement, by job and variant."""

    def __init__(self, value: str, results: Sequence[Result]) -> None:
        self.value = value
        self._by: dict[tuple[str, str], list[float]] = {}
        self.schedulers: dict[str, str] = {}
        for result in results:
            self._by.setdefault((result["job"], result["variant"]), []).append(result[value])
            self.schedulers[result["variant"]] = result["scheduler"]
        self.jobs = [name for name in JOBS if any(job == name for job, _ in self._by)]
        self.variants = [name for name in VARIANTS if name in self.schedulers]

    def of(self, job: str, variant: str) -> list[float]:
        return self._by[job, variant]

    def speed(self, job: str, variant: str, base: str) -> tuple[float, float, float]:
        """How many times the I/Os of `base` per second, or per instruction."""
        mine, other = self.of(job, variant), self.of(job, base)
        return ratio_interval(other, mine) if self.value == "instructions" else ratio_interval(mine, other)

    def _table(self, head: list[str], rows: list[list[str]]) -> str:
        lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def table(self) -> str:
        """Means with their intervals."""
        head = ["job"] + [f"{VARIANTS[v].title} ({self.schedulers[v]})" for v in self.variants]
        rows = []
        for job in self.jobs:
            cells = []
            for variant in self.variants:
                mean, half = mean_interval(self.of(job, variant))
                cells.append(f"{mean:,.0f}" + (f" ± {half:,.0f}" if len(self.of(job, variant)) > 1 else ""))
            rows.append([JOBS[job].title, *cells])
        return self._table(head, rows)

    def ratios(self) -> str:
        """I/Os per second, or per instruction, as a multiple of another driver's."""
        wanted = [
            ("request", "c"), ("request-none", "c-none"), ("bio", "request"), ("bio", "request-none"), ("bio", "c"),
            ("scsi", "c-scsi"), ("scsi-none", "c-scsi-none"), ("scsi", "request"), ("scsi-none", "request-none"),
        ]  # fmt: skip
        pairs = [(a, b) for a, b in wanted if a in self.variants and b in self.variants]
        head = ["job"] + [f"{VARIANTS[a].title} / {VARIANTS[b].title}" for a, b in pairs]
        rows = []
        for job in self.jobs:
            cells = []
            for a, b in pairs:
                ratio, low, high = self.speed(job, a, b)
                cells.append(f"{ratio:.2f}" + (f" ({low:.2f} to {high:.2f})" if low < high else ""))
            rows.append([JOBS[job].title, *cells])
        return self._table(head, rows) if pairs else ""


def exits_table(results: Sequence[Result]) -> str:
    """A row for each job and driver: means of all turns, and as a multiple of the C driver's."""
    values = {"interrupts": ".2f", "kicks": ".2f", "mean": ",.0f", "p99": ",.0f"}
    lines = [
        "| job | driver | interrupts | × C | kicks | × C | mean, µs | × C | p99, µs | × C |",
        "| --- | --- |" + " ---: |" * 8,
    ]
    by: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result["job"] in EXITS:
            by.setdefault((result["job"], result["variant"]), []).append(result)
    for (job, variant), mine in sorted(by.items(), key=lambda item: list(EXITS).index(item[0][0])):
        base = by.get((job, "c-scsi" if VARIANTS[variant].scsi else "c"), mine)
        cells = []
        for value, form in values.items():
            mean = sum(result[value] for result in mine) / len(mine)
            ratio, low, high = ratio_interval([r[value] for r in mine], [r[value] for r in base])
            cells += [f"{mean:{form}}", f"{ratio:.2f}" + (f" ({low:.2f} to {high:.2f})" if low < high else "")]
        lines.append(f"| {EXITS[job].title} | {VARIANTS[variant].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def flushes_table(results: Sequence[Result]) -> str:
    """A row for each driver."""
    by: dict[str, list[Result]] = {}
    for result in results:
        if result["job"] == FLUSHES.name:
            by.setdefault(result["variant"], []).append(result)
    lines = ["| driver | fsyncs | flushes an fsync | × C |", "| --- | ---: | ---: | ---: |"]
    for variant, mine in by.items():
        base = by.get("c-scsi" if VARIANTS[variant].scsi else "c", mine)
        ratio, low, high = ratio_interval([r["flushes"] for r in mine], [r["flushes"] for r in base])
        times = f"{ratio:.2f}" + (f" ({low:.2f} to {high:.2f})" if low < high else "")
        mean, fsyncs = sum(r["flushes"] for r in mine) / len(mine), sum(r["fsyncs"] for r in mine)
        lines.append(f"| {VARIANTS[variant].title} | {fsyncs:,} | {mean:.2f} | {times} |")
    return "\n".join(lines)


def memory_table(results: Sequence[Result]) -> str:
    """A row for each driver: the mean of all turns but the first, in which caches of all kinds fill."""
    lines = ["| driver | a disk, KiB | × C | a command, bytes | × C |", "| --- |" + " ---: |" * 4]
    by: dict[str, list[Result]] = {}
    for result in results:
        by.setdefault(result["variant"], []).append(result)
    means = {
        (variant, value): sum(result[value] for result in mine[1:]) / len(mine[1:])
        for variant, mine in by.items()
        for value in ("disk", "command")
    }
    for variant in by:
        base = "c-scsi" if VARIANTS[variant].scsi else "c"
        base = base if base in by else variant
        cells = [f"{means[variant, value]:,.0f} | {means[variant, value] / means[base, value]:.2f}" for value in ("disk", "command")]
        lines.append(f"| {VARIANTS[variant].title} | {' | '.join(cells)} |")
    return "\n".join(lines)


# Of the faster path: what auto may lose.
_NEAR = 0.95


def _paths(results: Sequence[Result]) -> tuple[dict[tuple[int, str], dict[str, list[float]]], list[list[str]]]:
    """The samples of each medium and job, by path; and what auto took on each medium, each time."""
    samples: dict[tuple[int, str], dict[str, list[float]]] = {}
    taken: list[list[str]] = [[] for _ in MEDIA]
    for result in results:
        if "path" in result:
            taken[result["medium"]].append(result["path"])
        else:
            samples.setdefault((result["medium"], result["job"]), {}).setdefault(result["variant"], []).append(result["iops"])
    return samples, taken


def paths_table(results: Sequence[Result]) -> str:
    """A row for each medium: bio mode as a multiple of request mode for each job, what auto took, and what that costs at most."""
    samples, taken = _paths(results)
    jobs = [name for name in JOBS if any(job == name for _, job in samples)]
    lines = [
        "| medium | " + " | ".join(f"{JOBS[job].title}: bio / request" for job in jobs) + " | auto | least of its speed to the faster path's |",
        "| --- |" + " ---: |" * len(jobs) + " --- | ---: |",
    ]
    good = 0
    for number, medium in enumerate(MEDIA):
        cells, worst = [], 9.9
        for job in jobs:
            ratio, low, high = ratio_interval(samples[number, job]["bio"], samples[number, job]["request"])
            cells.append(f"{ratio:.2f} ({low:.2f} to {high:.2f})")
            for path in set(taken[number]):
                worst = min(worst, ratio / max(ratio, 1) if path == "bio" else 1 / max(ratio, 1))
        good += worst >= _NEAR
        took = ", ".join(f"{path} {taken[number].count(path)}×" for path in sorted(set(taken[number])))
        lines.append(f"| {medium.title} | {' | '.join(cells)} | {took} | {worst:.2f} |")
    lines.append(f"\nOn {good} of {len(MEDIA)} media what auto took is the faster path, or within {1 - _NEAR:.0%} of it, in each job.")
    return "\n".join(lines)


def paths_plot(results: Sequence[Result], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    samples, taken = _paths(results)
    jobs = [name for name in JOBS if any(job == name for _, job in samples)]
    figure, axis = plt.subplots(figsize=(12, 5))
    for number, job in enumerate(jobs):
        stats = [ratio_interval(samples[medium, job]["bio"], samples[medium, job]["request"]) for medium in range(len(MEDIA))]
        axis.errorbar(
            [medium + (number - (len(jobs) - 1) / 2) * 0.15 for medium in range(len(MEDIA))],
            [ratio for ratio, _, _ in stats],
            yerr=[[ratio - low for ratio, low, _ in stats], [high - ratio for ratio, _, high in stats]],
            fmt="o", capsize=3, label=JOBS[job].title,
        )  # fmt: skip
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(
        range(len(MEDIA)),
        [f"{medium.title.replace(', ', chr(10))}\nauto: {'/'.join(sorted(set(taken[number])))}" for number, medium in enumerate(MEDIA)],
        fontsize="x-small",
    )
    axis.set_title("I/Os per second in bio mode as a multiple of request mode, and what auto takes")
    axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def plot(all_samples: Sequence[Samples], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(all_samples), 1, figsize=(14, 5 * len(all_samples)), squeeze=False)
    for axis, samples in zip(axes[:, 0], all_samples):
        width = 0.8 / len(samples.variants)
        for number, variant in enumerate(samples.variants):
            stats = [mean_interval(samples.of(job, variant)) for job in samples.jobs]
            axis.bar(
                [i + (number - (len(samples.variants) - 1) / 2) * width for i in range(len(samples.jobs))],
                [mean for mean, _ in stats],
                width,
                yerr=[half for _, half in stats] if any(half for _, half in stats) else None,
                capsize=2,
                label=f"{VARIANTS[variant].title} ({samples.schedulers[variant]})",
            )
        labels = [JOBS[job].title.replace(", ", "\n").replace("KiB ", "KiB\n") for job in samples.jobs]
        axis.set_xticks(range(len(samples.jobs)), labels, fontsize="small")
        title = {"instructions": "guest instructions an I/O", "iops": "I/Os per second, wall clock"}[samples.value]
        axis.set_title(f"{title} ({_BETTER[samples.value]})")
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
