"""The process of one contestant: `python -m benchmarks.worker`, told what to do by timing.py.

One request a line comes in, JSON, and one reply a line goes out: {"result": ...}, or {"error":
the traceback}. What a library prints goes to stderr, so that it cannot garble the replies.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from .machine import usable_cores


class Server:
    """Answers requests for one contestant."""

    run: Callable[[], object]
    answer: Callable[[], Any]
    threads: int

    def handle(self, request: dict[str, Any]) -> Any:
        match request["do"]:
            case "build":
                module, _, function = request["build"].partition(":")
                self.threads = request["threads"]
                stay_on_processors(self.threads)
                build = getattr(importlib.import_module(module), function)
                self.run, self.answer = build(threads=self.threads, **request["options"])
                return None
            case "warm up":
                self.run()
                return check_pools(thread_pools(), self.threads)
            case "run":
                return timed(self.run)
            case "answer":
                return self.answer()
            case other:
                raise ValueError(f"no such request: {other!r}")


def timed(run: Callable[[], object]) -> float:
    """Milliseconds that `run` takes. Garbage is collected before and not meanwhile."""
    gc.collect()
    gc.disable()
    try:
        began = time.perf_counter()
        run()
        return 1000.0 * (time.perf_counter() - began)
    finally:
        gc.enable()


def stay_on_processors(count: int) -> None:
    """Allow this process `count` of its processors, where the system can; pools go by that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def thread_pools() -> list[dict[str, Any]]:
    """Name, version and size of each thread pool in this process; empty without threadpoolctl."""
    try:
        import threadpoolctl
    except ImportError:
        pools = []
    else:
        pools = [
            {
                key: pool[key]
                for key in ("internal_api", "version", "architecture", "num_threads")
                if pool.get(key) is not None
            }
            for pool in threadpoolctl.threadpool_info()
        ]
    if "torch" in sys.modules:
        size = sys.modules["torch"].get_num_threads()
        pools.append({"internal_api": "torch intra-op", "num_threads": size})
    if "faiss" in sys.modules:
        faiss = sys.modules["faiss"]
        pools.append(
            {
                "internal_api": "faiss",
                "version": faiss.get_compile_options().strip(),
                "num_threads": faiss.omp_get_max_threads(),
            }
        )
    if "jax" in sys.modules:
        # Its pool cannot be asked; it has no more threads at work than processors.
        pools.append({"internal_api": "jax: processors", "num_threads": usable_cores()})
    return pools


def check_pools(pools: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """`pools`; raises RuntimeError where one has more threads than every contestant may have."""
    for pool in pools:
        if pool["num_threads"] > threads:
            raise RuntimeError(f"more than {threads} threads in a pool: {pool}")
    return pools


def main() -> None:
    """Serve until the input ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        try:
            reply = {"result": server.handle(json.loads(line))}
        except Exception:
            reply = {"error": traceback.format_exc()}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
