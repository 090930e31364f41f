"""Sentences for errors that come from no catalogued mistake but from Python or torch."""

import inspect
import re
from collections.abc import Callable

Kinds = type[BaseException] | tuple[type[BaseException], ...]

REASONS: tuple[tuple[Kinds, str, str], ...] = (  # kinds of error, a pattern of its text, advice
    (
        RecursionError,
        "",
        "The function calls itself without end: which call should return without another?",
    ),
    (
        UnboundLocalError,
        "",
        "A variable has no value yet: did the `if` or the loop that sets it run for this input, "
        "and is it set above the line that uses it?",
    ),
    (
        NameError,
        r"name '(\w+)' is not defined|variable '(\w+)'",
        "A name is used before it has a value: is it spelt like that above, and imported?",
    ),
    (
        TypeError,
        r"NoneType",
        "A value is None: perhaps a function in your code returns nothing, or a method that "
        "changes a list in place was used for its result.",
    ),
    (
        TypeError,
        r"unsupported operand type\(s\) for .*'list'|can't multiply sequence by non-int",
        "Python lists are not subtracted, multiplied or divided element by element: go through "
        "them in a loop, two at a time with zip, or make arrays with np.array.",
    ),
    (
        TypeError,
        r"slice indices must be integers|\bint(s|egers)?\b.*\bfloat\b"
        r"|'(numpy\.)?float\d*' object cannot be interpreted as an integer",
        "A whole number may be needed here: / and ** 0.5 give decimal numbers even where the "
        "result is whole. Use // or round().",
    ),
    (
        TypeError,
        r"is not a Module subclass",
        "nn.Sequential holds modules, and this layer is a function: call it yourself.",
    ),
    (
        AttributeError,
        r"'Tensor' object has no attribute|module 'torch' has no attribute",
        "The inputs are torch tensors. Some methods have another name in NumPy: astype is to, "
        "transpose(0, 2, 1) is permute(0, 2, 1), copy is clone.",
    ),
    (
        AttributeError,
        r"'(float|int|list|tuple)' object has no attribute",
        "This value is a plain Python number or list, not a tensor: torch.tensor(value) makes one.",
    ),
    (
        ZeroDivisionError,
        "",
        "The denominator is zero for this input: what should the function return then?",
    ),
    (
        (RuntimeError, IndexError),
        r"target dtype to be Long|index tensor of type LongTensor|dtype int32( or |/)int64"
        r"|used as indices must be|bincount\w*\" not implemented for",
        "Labels and indices must be whole numbers: convert a tensor of them with .long(), and an "
        "array with .astype(int).",
    ),
    (
        RuntimeError,
        r"log_softmax\w*\" not implemented for",
        "The logits hold whole numbers here. Are logits and labels exchanged? F.cross_entropy "
        "takes the logits first. If these are your logits, convert them with .float().",
    ),
    (
        RuntimeError,
        r"only batches of spatial targets",
        "For logits (N, K, h, w), F.cross_entropy needs labels (N, h, w), without an axis for "
        "classes: print the shape of the labels.",
    ),
    (
        RuntimeError,
        r"not implemented for '(Long|Int|Short|Char|Byte|Bool|\w*[Ii]nt\w*)'"
        r"|must be .*floating|floating point|Input type \([Ll]ong"
        r"|expected scalar type (Long|Int|Short|Char|Byte|Bool) but found (Float|Double)"
        r"|dtype (Long|Int|Short|Char|Byte|Bool) but expected (Float|Double)",
        "This operation needs decimals, and the tensor holds whole numbers or booleans: "
        "convert it with .float() first.",
    ),
    (
        (RuntimeError, TypeError),
        r"Cannot cast ufunc .* output from dtype\('float"
        r"|result type (Float|Double|Half|BFloat16) can't be cast",
        "An array of whole numbers cannot be changed in place to decimals: make it of floats "
        "first.",
    ),
    (
        RuntimeError,
        r"Subtraction.*bool|boolean",
        "Boolean tensors cannot be subtracted: use ~, & and |, or .int() first.",
    ),
    (
        (RuntimeError, ValueError),
        r"is invalid for input of size|cannot reshape array",
        "A reshape keeps the number of elements: multiply the new sizes, and compare the result "
        "with the number of elements that the tensor has.",
    ),
    (
        RuntimeError,
        r"Output size is too small",
        "An axis is too short for this kernel, which slides along the last axes of the tensor: "
        "are these height and width?",
    ),
    (
        RuntimeError,
        r"Class values must be smaller than num_classes",
        "F.one_hot met a label that is not below its number of classes: is the label void, or is "
        "the number of classes wrong?",
    ),
    (
        (RuntimeError, ValueError, IndexError),
        r"size of tensor|same shape|shapes cannot be multiplied|must match|size mismatch"
        r"|Expected target size|match target batch_size|could not be broadcast",
        "Two shapes do not fit: print the shape of every tensor on this line.",
    ),
    (
        IndexError,
        r"Dimension out of range",
        "This line names an axis that the tensor does not have: print its shape.",
    ),
    (
        IndexError,
        r"out of (range|bounds)",
        "An index lies outside: remember that the last index of N elements is N - 1, and that an "
        "input may be empty.",
    ),
    (
        RuntimeError,
        r"non-empty 3D or 4D|3D \(unbatched\) or 4D",
        "This layer needs a tensor (N, C, H, W) or (C, H, W): are the axes for images and channels "
        "missing? x[None] adds one in front.",
    ),
    (
        (RuntimeError, ValueError),
        r"numel\(\) == 0|empty|zero-size|need at least one array",
        "Something is empty here, the input or a part of it: what should happen then?",
    ),
)


def reason(error: BaseException, answer: Callable, arguments: tuple) -> str:
    """What usually causes such an error, in a sentence; "" if that is not known."""
    misfit = wrong_signature(answer, arguments)
    if misfit:
        return misfit
    try:
        text = str(error)
    except Exception:
        return ""
    for kind, pattern, sentence in REASONS:
        if isinstance(error, kind) and re.search(pattern, text):
            return sentence
    return ""


def wrong_signature(answer: Callable, arguments: tuple) -> str:
    """A sentence if the answer cannot be called with so many arguments, else ""."""
    try:
        signature = inspect.signature(answer)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*arguments)
    except TypeError:
        count = len(arguments)
        plural = "argument" if count == 1 else "arguments"
        return f"The function is called with {count} {plural}; yours is defined as {signature}."
    return ""
