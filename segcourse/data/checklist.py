"""One call that looks at a dataset the way a careful colleague would, before anything is trained.

    report = inspect(dataset, classes=CLASSES, other_split=validation)
    print(report)

It takes any dataset whose items are Samples or (image, mask) pairs, and looks for the label errors
that published tutorials and their readers ran into. A finding says what is wrong, where, and how
to mend it. What it cannot know it says as a warning; what cannot be right, as an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from segcourse.data.checks import (
    CHECKS,
    Context,
    Finding,
    check_loading,
    is_named,
    total,
    unknown_ids,
)
from segcourse.data.facts import Facts, sample_facts
from segcourse.ops.labels import IGNORE, shorten

_MARKS = {"ok": "✓", "warning": "!", "error": "✗"}
_MAX_ALIGNED = 100  # pairs of image and mask that are correlated
_MAX_LISTED = 8  # ids without a class that the table of frequencies lists one by one


@dataclass(frozen=True)
class Report:
    """What ``inspect`` found; print it."""

    findings: tuple[Finding, ...]
    frequencies: tuple[tuple[str, float, int], ...]  # class, share of pixels, samples with it
    inspected: int
    length: int

    @property
    def errors(self) -> list[Finding]:
        """The findings that cannot be right."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that may be right, and rarely are."""
        return [finding for finding in self.findings if finding.level == "warning"]

    def __str__(self) -> str:
        lines = [
            f"{self.inspected} of {self.length} samples inspected: "
            f"errors: {len(self.errors)}, warnings: {len(self.warnings)}"
        ]
        for finding in self.findings:
            where = f"  [samples {shorten(finding.where, 5)[1:-1]}]" if finding.where else ""
            lines.append(f"{_MARKS[finding.level]} {finding.check:<14} {finding.message}{where}")
            if finding.level != "ok":
                lines.append(f"{'':<17}→ {finding.remedy}")
        lines.append(f"\n{'class':<16} {'pixels':>8}  samples")
        for name, share, samples in self.frequencies:
            lines.append(f"{name:<16} {100 * share:7.2f}%  {samples:7}")
        return "\n".join(lines)


def inspect(
    dataset: Dataset,
    *,
    classes: Sequence[str] | None = None,
    num_classes: int | None = None,
    other_split: Dataset | None = None,
    limit: int = 1000,
) -> Report:
    """Look for label errors in a dataset of Samples or (image, mask) pairs; print the report.

    Args:
        dataset: anything with a length and items.
        classes: the name of every class, without void.
        num_classes: how many classes there should be, if they have no names.
        other_split: where none of these images may appear again.
        limit: the most samples to look at, evenly spaced (of each split).

    Raises:
        TypeError: if ``dataset`` has no length and no items.
        ValueError: if the dataset is empty, or ``limit`` or ``num_classes`` is not positive.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"a {type(dataset).__name__} is no dataset: pass something with len(dataset) and "
            "dataset[i]; turn an iterator into one with list(...)."
        )
    if len(dataset) == 0 or limit < 1 or (num_classes is not None and num_classes < 1):
        raise ValueError(
            f"a dataset of {len(dataset)} samples, limit={limit} and num_classes={num_classes} "
            "leave nothing to inspect: check the folder, and give numbers above 0."
        )
    indices = evenly(len(dataset), limit)
    aligned = set(np.array(indices)[evenly(len(indices), _MAX_ALIGNED)].tolist())
    facts = [sample_facts(dataset, index, align=index in aligned) for index in indices]
    names = tuple(classes) if classes is not None else None
    context = Context(
        names,
        num_classes if num_classes is not None or names is None else len(names),
        _fingerprints(other_split, limit) if other_split is not None else None,
    )
    good = [each for each in facts if not each.problem]
    findings = [check_loading(facts)]
    findings += [check(good, context) for check in CHECKS] if good else []
    findings = [finding for finding in findings if finding is not None]
    return Report(tuple(findings), _frequencies(good, context), len(facts), len(dataset))


def evenly(length: int, max_count: int) -> list[int]:
    """At most ``most`` of the indices 0 ... length - 1, evenly spaced."""
    max_count = min(max_count, length)
    return [place * length // max_count for place in range(max_count)]


def _fingerprints(dataset: Dataset, limit: int) -> Tensor | None:
    """The fingerprints of a split's images: -> (count, D); None if none can be read."""
    indices = evenly(len(dataset), limit)
    facts = [sample_facts(dataset, index, align=False) for index in indices]
    found = [each.fingerprint for each in facts if not each.problem]
    return torch.stack(found) if found else None


def _frequencies(facts: Sequence[Facts], context: Context) -> tuple[tuple[str, float, int], ...]:
    """Every class (and void), its share of all pixels, and how many samples show it.

    Ids that are no class get rows of their own, or one row together if there are many of them.
    """
    counts = total(facts)
    pixels = max(sum(counts.values()), 1)
    unknown = set(unknown_ids(facts, context))
    if len(unknown) <= _MAX_LISTED:
        unknown = set()
    rows = []
    for label in sorted({*counts, *range(context.num_classes or 0)} - unknown):
        name = f"{label} {context.classes[label]}" if is_named(context, label) else str(label)
        name = "void" if label == IGNORE else name
        rows.append((name, counts[label] / pixels, sum(label in each.counts for each in facts)))
    if unknown:
        share = sum(counts[label] for label in unknown) / pixels
        samples = sum(not unknown.isdisjoint(each.counts) for each in facts)
        rows.append((f"{len(unknown)} other ids", share, samples))
    return tuple(rows)
