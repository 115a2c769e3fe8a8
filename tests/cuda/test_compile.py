"""Every CUDA source compiled for every generation of cards, and what the compiler made of it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.cuda import nvrtc
from xpcls_backends.kernels.cuda import dots, images, l1, linear, losses, smallest, updates
from xpcls_backends.kernels.cuda._module import HOME, OPTIONS, source
from xpcls_backends.kernels.cuda.direct import PIXELS as DIRECT_PIXELS

needs_compiler = pytest.mark.skipif(nvrtc.why_none is not None, reason=str(nvrtc.why_none))
needs_instructions = pytest.mark.skipif(
    nvrtc.why_no_instructions is not None, reason=str(nvrtc.why_no_instructions)
)

# Each source as its launcher compiles it; of linear.cu the ends and the middle of each range.
VARIANTS: list[tuple[str, tuple[str, ...]]] = [
    ("bits", ()),
    ("codes", ()),
    *(("dots", (f"-DNUMBER={number}",)) for number in dots.NUMBERS.values()),
    ("l1", ()),
    *(("l1_few", (f"-DQUERIES={queries}",)) for queries in l1.QUERIES),
    ("losses", ()),
    ("losses", (f"-DCLASSES={losses.MOST_CLASSES}",)),
    *(
        ("images", (f"-DNUMBER={number}", f"-DLANES={lanes}"))
        for number in images.NUMBERS.values()
        for lanes in (1, images.LANES)
    ),
    *(("updates", (f"-DNUMBER={number}",)) for number, _ in updates.NUMBERS.values()),
    *(("direct", (f"-DPIXEL={pixel}",)) for pixel in DIRECT_PIXELS.values()),
    *(("smallest", (f"-DKEPT={kept}",)) for kept in smallest.KEPT),
    *(("smallest", (f"-DKEPT={kept}", "-DNAMED=1")) for kept in (1, smallest.KEPT[-1])),
    *(
        ("linear", (f"-DCLASSES={classes}", f"-DFEATURES={features}", f"-DPIXEL={pixel}"))
        for classes in (2, losses.MOST_CLASSES)
        for features in (linear.FEATURES[0], linear.FEATURES[-1])
        for pixel in linear.PIXELS.values()
    ),
]


def test_all_sources_are_compiled_here() -> None:
    assert {path.stem for path in HOME.glob("*.cu")} == {name for name, _ in VARIANTS}


@needs_compiler
@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda x: "".join(x).replace("-D", " "))
def test_no_kernel_spills_registers(name: str, options: tuple[str, ...], architecture: str) -> None:
    _, kernels = nvrtc.compiled(source(name), architecture, (*OPTIONS, *options))
    assert kernels
    assert {kernel: found.spilled for kernel, found in kernels.items()} == dict.fromkeys(kernels, 0)
    assert all(found.shared <= 48 * 2**10 for found in kernels.values())


@needs_compiler
def test_what_spills_and_what_is_no_cuda_is_noticed() -> None:
    many = "\n".join(f"float a{i} = x[{i}];" for i in range(64))
    later = "\n".join(f"x[{i}] = a{i};" for i in range(64))
    body = f"{many} __syncthreads(); {later}"
    code = 'extern "C" __global__ void __launch_bounds__(1024, 2) k(float* x) {' + body + "}"
    _, kernels = nvrtc.compiled(code, "90", OPTIONS)
    assert kernels["k"].spilled > 0
    with pytest.raises(nvrtc.CompileError, match="sm_90"):
        nvrtc.compiled("nonsense", "90", OPTIONS)


def hottest(name: str, kernel: str, instruction: str, *options: str) -> Counter[str]:
    binary, _ = nvrtc.compiled(source(name), "90", (*OPTIONS, *options))
    return nvrtc.hottest_loop(binary, kernel, instruction)


@needs_compiler
@needs_instructions
def test_four_bytes_of_l1_take_one_instruction() -> None:
    # 8 x 8 pairs and 8 words at a time: 512 instructions are the work, the rest is on the way.
    loop = hottest("l1", "l1_u8", "VABSDIFF4")
    assert loop["VABSDIFF4"] == 512
    assert loop.total() <= 1.2 * 512


@needs_compiler
@needs_instructions
def test_a_float_of_l1_takes_two_instructions() -> None:
    loop = hottest("l1", "l1_f32", "FADD")
    assert loop["FADD"] == 1024
    assert loop.total() <= 1.1 * 1024
    assert loop["LDS.128"] == 32  # of shared memory: 2 x 2 vectors for each word


@needs_compiler
@needs_instructions
@pytest.mark.parametrize("queries", l1.QUERIES)
def test_few_rows_of_l1_read_each_point_once(queries: int) -> None:
    points = min(8, l1.SUMS // queries)
    of_bytes = hottest("l1_few", "l1_few_u8", "VABSDIFF4", f"-DQUERIES={queries}")
    assert of_bytes["VABSDIFF4"] == 4 * queries * points
    assert of_bytes["LDG.128"] == queries + points
    of_floats = hottest("l1_few", "l1_few_f32", "FADD", f"-DQUERIES={queries}")
    assert of_floats["FADD"] == 8 * queries * points
    assert of_floats["LDG.128"] == queries + points
    assert not any(loop[name] for loop in (of_bytes, of_floats) for name in ("LDL", "STL"))
    if queries == l1.QUERIES[-1]:
        assert of_bytes.total() <= 1.6 * 4 * queries * points
        assert of_floats.total() <= 1.3 * 8 * queries * points


@needs_compiler
@needs_instructions
def test_a_step_of_a_linear_classifier_reads_little_for_its_products() -> None:
    step = hottest("linear", "descend", "FFMA", "-DCLASSES=10", "-DFEATURES=24")
    assert step["FFMA"] >= 4 * (step["LDS.128"] + step["LDS.64"])
    assert step["LDS"] <= 60  # of places, and of parts to be added up


@needs_compiler
@needs_instructions
@pytest.mark.parametrize("lanes", [1, images.LANES])
def test_images_are_laid_out_without_a_division(lanes: int) -> None:
    binary, kernels = nvrtc.compiled(source("images"), "90", (*OPTIONS, f"-DLANES={lanes}"))
    for kernel in kernels:
        found = nvrtc.instructions(binary, kernel)
        assert found["LDG.128" if lanes == images.LANES else "LDG"] and not found["MUFU"]
    assert nvrtc.instructions(binary, "lay_out").total() <= 100
