"""How near ``engine.py``'s fused step comes to what the machine can do: its arithmetic, what it moves, its profile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from searches import ENGINES, PAIRS, Row, Search, Setting


def convolution_backward_flops(g: Any, x: Any, weight: Any, *rest: Any, out_val: Any = None, **_: Any) -> int:
    """Each gradient that is asked for costs as much as the convolution itself, grouped or not.

    torch 2.13's own count of the gradient of the weights takes all groups for one.
    """
    mask = rest[-1]
    return (int(mask[0]) + int(mask[1])) * 2 * weight.numel() * g.shape[0] * math.prod(g.shape[2:])


def operators(run: Callable[[], Any]) -> list[tuple[str, int, int]]:
    """(name, flops, bytes) of every operator that ``run`` calls and that computes or moves anything.

    Bytes are what it cannot but read and write: each of its tensors once. Views and allocations move nothing.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    aten = torch.ops.aten
    still = [getattr(aten, name) for name in ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view")]
    found: list[tuple[str, int, int]] = []

    class Note(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            packet = func.overloadpacket
            if func.is_view or packet in still:
                return out
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
            size = sum({id(t): t.numel() * t.element_size() for t in tensors}.values())
            if packet is aten.convolution_backward:
                flops = convolution_backward_flops(*args)
            else:
                count = flop_registry.get(packet)
                flops = count(*args, **(kwargs or {}), out_val=out) if count else 0
            found.append((str(packet).removeprefix("aten."), flops, size))
            return out

    with Note():
        run()
    return found


@cache
def limits() -> tuple[float, tuple[tuple[float, float], ...]]:
    """What this machine can do with one thread: most flops a second, and the seconds to copy a number of bytes.

    The first is the best of matrix products and dense convolutions of good sizes. Bytes of a copy count those read and
    those written.
    """
    import torch
    from torch.nn import functional as F

    def best(run: Callable[[], Any], repeat: int) -> float:
        times = []
        for _ in range(repeat):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
        return min(times)

    rates = []
    for n in (512, 1024, 2048):
        a, b = torch.randn(n, n), torch.randn(n, n)
        rates.append(2 * n**3 / best(lambda a=a, b=b: a @ b, 5))
    for channels, side in ((64, 32), (128, 16), (256, 16)):
        x = torch.randn(32, channels, side, side).contiguous(memory_format=torch.channels_last)
        w = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            rates.append(2 * w.numel() * 32 * side**2 / best(lambda x=x, w=w: F.conv2d(x, w, padding=1), 5))
    copies = []
    for exponent in range(10, 29, 2):  # 1 KB to 256 MB
        x = torch.empty(2**exponent // 4).normal_()
        y = torch.empty_like(x)
        calls = max(1, 2**22 // 2**exponent)

        def many(x: Any = x, y: Any = y, calls: int = calls) -> None:
            for _ in range(calls):
                y.copy_(x)

        copies.append((2.0 * 2**exponent, best(many, 7) / calls))
    return max(rates), tuple(copies)


def copy_seconds(size: float) -> float:
    """The seconds this machine takes to read and write ``size`` bytes, on a line between what was measured."""
    import numpy as np

    sizes, seconds = zip(*limits()[1], strict=True)
    return float(np.exp(np.interp(np.log(max(size, 1)), np.log(sizes), np.log(seconds))))


def floor(setting: Setting) -> list[Row]:
    """How near forward + backward comes to what the machine can do.

    ``flops`` and ``bytes`` are those of the fused step, ``reference_flops`` of the same step without fusing (kernels of
    other sizes are padded to stand side by side). ``compute_s`` is all arithmetic at the machine's best rate,
    ``operators_s`` the sum over operators of the larger of its arithmetic at that rate and the copying of as many bytes
    as it reads and writes: no way of computing these operators one by one is faster. ``share`` is ``operators_s`` over
    the measured ``fused_s``, ``convolution_flops_a_second`` the rate within the convolutions and their gradients.
    ``profile`` lists (operator, share of the processor time, calls).
    """
    import torch
    from torch.profiler import ProfilerActivity, profile

    reference, fused = (Search(setting, engine) for engine in ENGINES)
    counted = operators(fused.forward_backward)
    rate, _ = limits()
    times = []
    for _ in range(PAIRS):
        start = time.process_time()
        fused.forward_backward()
        times.append(time.process_time() - start)
    seconds = sorted(times)[PAIRS // 2]
    with profile(activities=[ProfilerActivity.CPU]) as prof:
        for _ in range(3):
            fused.forward_backward()
    events = sorted(prof.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    floors = [(name, max(flops / rate, copy_seconds(size))) for name, flops, size in counted]
    flops, size = (sum(each[i] for each in counted) for i in (1, 2))
    convolving = sum(event.self_cpu_time_total for event in events if "convolution" in event.key) / total
    least = sum(seconds_ for _, seconds_ in floors)
    torch.manual_seed(0)
    return [
        {
            "what": "floor",
            **setting.row,
            "fused_s": seconds,
            "flops": flops,
            "reference_flops": sum(each[1] for each in operators(reference.forward_backward)),
            "bytes": size,
            "calls": len(counted),
            "best_flops_a_second": rate,
            "best_bytes_a_second": max(moved / taken for moved, taken in limits()[1]),
            "convolution_flops_a_second": flops / (convolving * seconds),
            "compute_s": flops / rate,
            "operators_s": least,
            "share": least / seconds,
            "floor_by_operator": by_name(floors),
            "profile": [
                (event.key.removeprefix("aten::"), event.self_cpu_time_total / total, event.count // 3)
                for event in events[:14]
            ],
        }
    ]


def by_name(floors: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """The operators with the most seconds in all."""
    sums: dict[str, float] = {}
    for name, seconds in floors:
        sums[name] = sums.get(name, 0.0) + seconds
    return sorted(sums.items(), key=lambda each: -each[1])[:8]
