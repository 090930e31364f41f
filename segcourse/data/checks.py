"""What can be wrong with a dataset: one function per rule, from the facts of all samples.

A check returns a finding, or None where it has nothing to say. It reports the first thing that is
wrong, with a remedy. The bounds were chosen on Toytown and CamVid, clean and damaged, at full size
and resized: clean data stay well below them, damaged data well above.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from segcourse.data.facts import Facts, near_duplicates
from segcourse.data.label_alignment import edge_correlation, peak
from segcourse.ops.labels import IGNORE, shorten

_SPLIT_SIMILARITY = 0.98  # how alike two images of two splits may be
_DUPLICATE_SIMILARITY = 0.995  # and two images of one split
_CLIMBING = 0.17  # share of the label changes that may pass through a number between classes
_OBJECT_LINE = 0.6  # share of the steps out of objects that may lead onto a thin line of one class
_CLASS_LINE = 0.18  # the same for regions, where there are no objects


class Finding(NamedTuple):
    """The outcome of one check."""

    level: str  # "ok", "warning" or "error"
    check: str
    message: str
    where: tuple[int, ...] = ()  # indices of the samples concerned
    remedy: str = ""


class Context(NamedTuple):
    """What the checks know beside the facts."""

    classes: tuple[str, ...] | None
    num_classes: int | None
    other: Tensor | None  # fingerprints of the other split


def _where(facts: Sequence[Facts]) -> tuple[int, ...]:
    """The indices of some samples."""
    return tuple(each.index for each in facts)


def total(facts: Sequence[Facts], table: str = "counts") -> Counter:
    """A table of all samples together."""
    result: Counter = Counter()
    for each in facts:
        result.update(getattr(each, table))
    return result


def check_loading(facts: Sequence[Facts]) -> Finding:
    """Every item is an image (3, H, W) and a label map (H, W)."""
    bad = [each for each in facts if each.problem]
    if bad:
        return Finding("error", "loading", bad[0].problem, _where(bad), bad[0].remedy)
    return Finding("ok", "loading", "every item has an image (3, H, W) and a mask (H, W)")


def check_sizes(facts: Sequence[Facts], context: Context) -> Finding:
    """Mask and image cover the same pixels; samples can become a batch."""
    bad = [each for each in facts if each.sizes[0] != each.sizes[1]]
    if bad:
        image, mask = bad[0].sizes
        return Finding(
            "error", "sizes", f"an image of {image} has a mask of {mask}", _where(bad),
            "load the mask of the same image, and resize both, the mask by nearest.",
        )  # fmt: skip
    sizes = Counter(each.sizes[0] for each in facts)
    if len(sizes) > 1:
        rare = [each for each in facts if each.sizes[0] != sizes.most_common(1)[0][0]]
        return Finding(
            "warning", "sizes", f"{len(sizes)} sizes, e.g. {list(sizes)[:2]}", _where(rare),
            "resize, crop or pad to one size before making batches.",
        )  # fmt: skip
    return Finding("ok", "sizes", f"all images and masks are {next(iter(sizes))}")


def check_dtypes(facts: Sequence[Facts], context: Context) -> Finding:
    """Images are floats, labels are integers."""
    labels = [
        each
        for each in facts
        if (each.dtypes[1].is_floating_point or each.dtypes[1] == torch.bool) and not each.fractions
    ]
    if labels:
        return Finding(
            "error", "dtypes", f"labels come as {labels[0].dtypes[1]}", _where(labels),
            "convert masks with .long(): a label is a number of a class, not a quantity.",
        )  # fmt: skip
    images = [each for each in facts if not each.dtypes[0].is_floating_point]
    if images:
        return Finding(
            "error", "dtypes", f"images come as {images[0].dtypes[0]}", _where(images),
            "convert with .float() / 255: networks multiply real numbers.",
        )  # fmt: skip
    small = [each for each in facts if each.dtypes[1] != torch.int64]
    if small and not any(each.fractions for each in facts):
        return Finding(
            "warning", "dtypes", f"labels come as {small[0].dtypes[1]}", _where(small),
            "convert masks with .long(): losses want int64, and small integers overflow.",
        )  # fmt: skip
    return Finding("ok", "dtypes", "images hold floats, masks hold integers")


def check_values(facts: Sequence[Facts], context: Context) -> Finding | None:
    """Images hold values from 0 to 1, and something to see."""
    floats = [each for each in facts if each.dtypes[0].is_floating_point]
    if not floats:
        return None
    tests = (
        ("error", "not a number (nan or infinite)", lambda e: not e.finite,
         "find the division by zero, or the damaged file."),
        ("error", "values up to 255", lambda e: e.high > 4,
         "divide by 255: all networks of the course expect 0 to 1."),
        ("warning", "negative values or values above 1", lambda e: e.low < -1e-3 or e.high > 1.001,
         "normalise after inspecting, not before; else check how the image is read."),
        ("warning", "images of one colour", lambda e: e.high - e.low < 1e-6,
         "look at the files: nothing can be learned from an empty image."),
        ("warning", "nearly black images", lambda e: e.high < 0.02,
         "divide by 255 once, not twice."),
    )  # fmt: skip
    for level, message, is_bad, remedy in tests:
        bad = [each for each in floats if is_bad(each)]
        if bad:
            return Finding(level, "values", message, _where(bad), remedy)
    low, high = min(each.low for each in floats), max(each.high for each in floats)
    return Finding("ok", "values", f"image values range from {low:.2f} to {high:.2f}")


def _is_binary_image(facts: Sequence[Facts], context: Context) -> bool:
    """Whether two-class masks are stored as black and white, 0 and 255."""
    return set(total(facts)) == {0, 255} and context.num_classes in (None, 2)


def _is_interpolated(facts: Sequence[Facts]) -> bool:
    """Whether labels pass through a number between two classes more often than drawn ones do."""
    climbing, direct = (sum(each.ramps[side] for each in facts) for side in (0, 1))
    return climbing > _CLIMBING * (climbing + direct) and climbing >= 20


def check_interpolation(facts: Sequence[Facts], context: Context) -> Finding:
    """Labels were not averaged."""
    fractions = [each for each in facts if each.fractions]
    remedy = 'resize masks by nearest (transforms.resize does), never "bilinear".'
    if fractions:
        message = "labels between whole numbers: masks were interpolated"
        return Finding("error", "interpolation", message, _where(fractions), remedy)
    climbing, direct = (sum(each.ramps[side] for each in facts) for side in (0, 1))
    share = climbing / max(climbing + direct, 1)
    if _is_interpolated(facts):
        unknown = unknown_ids(facts, context)
        more = f", inventing the ids {shorten(unknown)}" if unknown else ""
        message = f"{share:.0%} of label changes pass through a number between classes{more}"
        return Finding("error", "interpolation", message, _where(facts), remedy)
    return Finding(
        "ok",
        "interpolation",
        f"{share:.0%} of label changes pass through a number between classes "
        f"(clean: under {_CLIMBING:.0%})",
    )


def unknown_ids(facts: Sequence[Facts], context: Context) -> list[int]:
    """Labels that are no class and not void."""
    num_classes = IGNORE if context.num_classes is None else context.num_classes
    return sorted(i for i in total(facts) if not (0 <= i < num_classes or i == IGNORE))


def check_ids(facts: Sequence[Facts], context: Context) -> Finding | None:
    """Every label is a class or void."""
    if _is_binary_image(facts, context):
        return Finding(
            "error", "ids", "masks hold 0 and 255 only: object pixels would be void", _where(facts),
            "divide two-class masks by 255, or compare: (mask > 127).long().",
        )  # fmt: skip
    unknown = unknown_ids(facts, context)
    if unknown and not _is_interpolated(facts):
        bad = [each for each in facts if set(unknown) & set(each.counts)]
        classes = context.num_classes if context.num_classes is not None else "any"
        return Finding(
            "error", "ids", f"ids {shorten(unknown)} are none of {classes} classes", _where(bad),
            f"map them to classes, or to {IGNORE} (void); numbering starts at 0.",
        )  # fmt: skip
    if unknown:
        return None
    known = [i for i in sorted(total(facts)) if i != IGNORE]
    return Finding("ok", "ids", f"labels {shorten(known, 12)} and void only")


def check_classes(facts: Sequence[Facts], context: Context) -> Finding | None:
    """The list of classes is as long as it should be, and each of them occurs."""
    names, number = context.classes, context.num_classes
    if number is None:
        return None
    if names is not None and (len(names) != number or len(set(names)) != len(names)):
        return Finding(
            "error", "classes", f"{number} classes have the names {list(names)}", (),
            "give every class one name of its own; void is no class and has none.",
        )  # fmt: skip
    if _is_binary_image(facts, context) or unknown_ids(facts, context):
        return None  # the numbering itself is wrong
    present = total(facts)
    if set(present) <= {IGNORE}:
        return None  # check_empty says so
    absent = [names[i] if names else str(i) for i in range(number) if i not in present]
    if absent:
        return Finding(
            "warning", "classes", f"{', '.join(absent)} never occur: one class too many?", (),
            "compare the list of names with the ids in the masks; count from 0.",
        )  # fmt: skip
    return Finding("ok", "classes", f"all {number} classes occur")


def check_names(facts: Sequence[Facts], context: Context) -> Finding | None:
    """Names that say where a class lies are right: sky is above, background touches the frame."""
    if context.classes is None or context.num_classes != len(context.classes):
        return None
    if unknown_ids(facts, context):
        return None
    counts, heights = total(facts), total(facts, "height")
    frame, inner = total(facts, "frame"), total(facts, "inner")
    for table in (counts, frame):
        del table[IGNORE]  # void around an image is no class
    thick = {i: inner[i] / counts[i] for i in counts if i < len(context.classes)}
    wrong = []
    for i, name in enumerate(context.classes):
        words, middle = set(name.lower().split()), heights[i] / counts[i] if counts[i] else 0.5
        if words & {"sky", "ceiling"} and middle > 0.5:
            wrong.append(f"{name} (class {i}) lies in the lower half")
        if words & {"road", "floor", "pavement", "ground"} and middle < 0.5:
            wrong.append(f"{name} (class {i}) lies in the upper half")
        if words & {"background"} and frame[i] < max(frame.values(), default=0):
            wrong.append(
                f"{name} (class {i}) is not the most frequent class on the frame of the images"
            )
        if words & {"border", "boundary", "contour"} and thick.get(i, 0) > min(
            thick.values(), default=0
        ):
            wrong.append(f"{name} (class {i}) is not the thinnest class")
    if wrong:
        return Finding(
            "warning", "names", "; ".join(wrong), (),
            "colour a mask and compare it with its image: two names may be swapped.",
        )  # fmt: skip
    return Finding(
        "ok", "names", "no name (sky, road, background ...) contradicts where its class lies"
    )


def check_void(facts: Sequence[Facts], context: Context) -> Finding | None:
    """Most pixels have a class."""
    if _is_binary_image(facts, context):
        return None
    counts = total(facts)
    share = counts[IGNORE] / sum(counts.values())
    if share > 0.5:
        return Finding(
            "warning", "void", f"{share:.1%} of all pixels are void", _where(facts),
            f"see whether a real class is numbered {IGNORE}, or the padding is too large.",
        )  # fmt: skip
    return Finding("ok", "void", f"{share:.1%} of all pixels are void")


def check_lines(facts: Sequence[Facts], context: Context) -> Finding | None:
    """No class is the void that surrounds things."""
    if _is_interpolated(facts) or _is_binary_image(facts, context):
        return None
    known = [each for each in facts if each.lines is not None and each.lines[0] > 0]
    objects = [each for each in known if each.objects]
    chosen, bound = (objects, _OBJECT_LINE) if objects else (known, _CLASS_LINE)
    if not chosen:
        return None
    onto = sum(each.lines[1] for each in chosen) / sum(each.lines[0] for each in chosen)
    label, share = int(onto.argmax()), onto.max().item()
    if share > bound:
        name = context.classes[label] if is_named(context, label) else f"class {label}"
        return Finding(
            "warning", "void as class", f"{name} is a thin line along {share:.0%} of the borders",
            _where(chosen), f"if these pixels are void, give them {IGNORE}, not a class.",
        )  # fmt: skip
    return Finding("ok", "void as class", "no class is a thin line along the borders of the others")


def is_named(context: Context, label: int) -> bool:
    """Whether a label has a name."""
    return context.classes is not None and label < len(context.classes)


def check_empty(facts: Sequence[Facts], context: Context) -> Finding | None:
    """Masks show more than one thing."""
    if _is_binary_image(facts, context):
        return None
    void = [each for each in facts if set(each.counts) == {IGNORE}]
    if void:
        return Finding(
            "error", "empty masks", "masks are void everywhere", _where(void),
            "drop these samples: no loss can learn from them, and its mean is nan.",
        )  # fmt: skip
    plain = [each for each in facts if len(each.counts) == 1]
    if plain:
        return Finding(
            "warning", "empty masks", f"masks hold one label only, {next(iter(plain[0].counts))}",
            _where(plain), "look at these images, and check that there is nothing else in them.",
        )  # fmt: skip
    return Finding("ok", "empty masks", "every mask shows at least two labels")


def check_objects(facts: Sequence[Facts], context: Context) -> Finding | None:
    """An object has one class."""
    if not any(each.objects for each in facts):
        return None
    bad = [each for each in facts if each.crossing]
    if bad:
        return Finding(
            "error", "objects", f"{bad[0].crossing} objects of a sample have several classes",
            _where(bad), "move semantic and instance maps together, both by nearest.",
        )  # fmt: skip
    return Finding("ok", "objects", "every object has one class")


def check_alignment(facts: Sequence[Facts], context: Context) -> Finding | None:
    """The borders of the masks lie on the edges of their images."""
    known = [each for each in facts if each.fit is not None and len(each.counts) > 1]
    if not known or _is_interpolated(facts):
        return None
    mirrored = [each for each in known if each.fit.mirrored]
    mismatched = _check_mismatched(known) if len(mirrored) <= len(known) / 2 else None
    if mismatched is not None:
        return mismatched
    remedy = "transform image and mask in one call, with one random draw."
    if mirrored:
        kinds = "; ".join(sorted({each.fit.mirrored for each in mirrored}))
        message = f"{len(mirrored)} of {len(known)} masks are mirrored ({kinds})"
        return Finding("error", "alignment", message, _where(mirrored), remedy)
    shifted = [each for each in known if each.fit.shift != (0, 0)]
    if len(shifted) > 0.1 * len(known):
        shifts = Counter(each.fit.shift for each in shifted)
        (down, right), number = shifts.most_common(1)[0]
        if number > len(known) / 2:
            message = f"masks must move {down} down and {right} right to fit ({number} of them)"
            remedy = "look for a crop, a padding or a resize that only one of the two went through."
        else:
            message = f"{len(shifted)} of {len(known)} masks are shifted, no more than half alike"
        return Finding("error", "alignment", message, _where(shifted), remedy)
    fit = sum(each.fit.fit for each in known) / len(known)
    return Finding(
        "ok",
        "alignment",
        f"mask borders lie on image edges (correlation {fit:.2f}; 0: unrelated, 1: identical)",
    )


def _check_mismatched(known: Sequence[Facts]) -> Finding | None:
    """Masks fit their own image better than that of another sample."""
    half = len(known) // 2
    pairs = [
        (each, other)
        for each, other in zip(known, [*known[half:], *known[:half]], strict=True)
        if each.edges.shape == other.borders.shape and each is not other
    ]
    if len(pairs) < 4:
        return None
    own = sum(each.fit.fit for each, _ in pairs) / len(pairs)
    others = [edge_correlation(a.edges, b.borders, reach=0).item() for a, b in pairs]
    if own > 1.3 * max(sum(others) / len(others), 0):
        return None
    sizes = Counter(each.fit.surface.shape for each in known)
    alike = [e.fit.surface for e in known if e.fit.surface.shape == sizes.most_common(1)[0][0]]
    together = peak(torch.stack(alike).mean(dim=0))
    if together.central and together.sharpness > 0.01:
        return None
    labels = set().union(*(each.counts for each in known)) - {IGNORE}
    level = "error" if len(labels) > 2 else "warning"  # one class may have faint borders
    return Finding(
        level, "alignment", "masks fit their images no better than those of other samples",
        _where(known), "sort both lists of files, and pair them by name.",
    )  # fmt: skip


def check_duplicates(facts: Sequence[Facts], context: Context) -> Finding:
    """No image comes twice."""
    pairs = near_duplicates(
        torch.stack([each.fingerprint for each in facts]), None, _DUPLICATE_SIMILARITY
    )
    if pairs:
        first, second = (facts[place].index for place in pairs[0])
        return Finding(
            "warning", "duplicates",
            f"{len(pairs)} pairs of images are nearly alike, e.g. {first} and {second}",
            tuple(sorted({facts[place].index for pair in pairs for place in pair})),
            "drop copies; keep frames of one video in one split.",
        )  # fmt: skip
    return Finding("ok", "duplicates", "no two images are alike")


def check_splits(facts: Sequence[Facts], context: Context) -> Finding | None:
    """No image is in the other split too."""
    if context.other is None:
        return None
    own = torch.stack([each.fingerprint for each in facts])
    if own.shape[1] != context.other.shape[1]:
        return None
    found = sorted({first for first, _ in near_duplicates(own, context.other, _SPLIT_SIMILARITY)})
    if found:
        return Finding(
            "error", "splits", f"{len(found)} images are in the other split too",
            tuple(facts[place].index for place in found),
            "remove them from training: a score on images seen in training says nothing.",
        )  # fmt: skip
    return Finding("ok", "splits", "no image is in the other split too")


CHECKS = (
    check_sizes,
    check_dtypes,
    check_values,
    check_ids,
    check_interpolation,
    check_classes,
    check_names,
    check_void,
    check_lines,
    check_empty,
    check_objects,
    check_alignment,
    check_duplicates,
    check_splits,
)
