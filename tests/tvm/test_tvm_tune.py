"""Tuning: what may be chosen is right whatever is chosen, trials are exact and never lost, and what is known is used without a search."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner

import sdk_sim
from tvm_target import testing, tune
from tvm_target import tune_command as cli
from tvm_target.build import compile_kernel
from tvm_target.tune import measure
from tvm_target.tune.database import Key, packaged_path
from tvm_target.tune.measure import Bench

BF16 = ml_dtypes.bfloat16
SHAPE = {"m": 256, "n": 256, "k": 128}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> tune.Space:
    """`linear` with twelve configurations."""
    space = replace(tune.space_of("linear"), parameters={"gm": (1, 2, 4), "bm": (16, 64), "bn": (128,), "bk": (64, 128)})
    monkeypatch.setitem(tune.spaces(), "linear", space)
    monkeypatch.setattr(tune.Space, "packaged", lambda self, shape: (1, 64, 128, 128))
    return space


@pytest.fixture
def database(tmp_path: Path) -> tune.Database:
    return tune.Database(tmp_path / "tuned.jsonl")


class NoBench(Bench):
    """One that must not be needed."""

    def measure(self, *_args: Any) -> Any:
        raise AssertionError("something was measured")


def run(database: tune.Database, **options: Any) -> tune.Result:
    return tune.tune("linear", SHAPE, **{"bench": Bench(0), "database": database, **options})


# ---- the search and its database


def test_cycles_of_an_experiment_do_not_enter_the_chips_own_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RIGI_CHIP", "half_the_hbm.toml")
    monkeypatch.delenv("RIGI_TUNED", raising=False)
    space = tune.space_of("linear")
    shape = space.shape(SHAPE)
    trials = {next(iter(space.grid(shape))): 1}
    with pytest.raises(tune.TuneError, match="RIGI_CHIP=half_the_hbm.toml is an experiment.*set RIGI_TUNED"):
        tune.Database().add(space, shape, trials)
    monkeypatch.setenv("RIGI_TUNED", str(tmp_path))
    tune.Database().add(space, shape, trials)
    assert tune.Database().trials(space, shape) == trials


def test_a_space_that_is_smaller_than_the_trials_is_measured_whole(tiny: tune.Space, database: tune.Database) -> None:
    seen: list[tuple[int, int, int | None]] = []
    result = run(database, progress=lambda *state: seen.append(state))
    assert result.trials == result.searched == 12 == len(list(tiny.grid(SHAPE)))
    trials = database.trials(tiny, SHAPE)
    assert result.cycles == min(c for c in trials.values() if c) and trials[tuple(result.config.values())] == result.cycles
    assert result.untuned_cycles == trials[1, 64, 128, 128] and result.gain == result.untuned_cycles / result.cycles >= 1
    assert seen[-1] == (12, 12, result.cycles)
    assert len(database.path.read_text().splitlines()) == 1, "compacted to one line a key"


def test_the_search_stops_at_its_trials_and_the_next_one_goes_on(tiny: tune.Space, database: tune.Database) -> None:
    first = run(database, trials=6)
    assert first.searched == first.trials == 6
    again = run(tune.Database(database.path), trials=first.trials, bench=NoBench())
    assert again.searched == 0 and again.cycles == first.cycles
    assert run(tune.Database(database.path), exhaustive=True).searched == 12 - first.trials


def test_an_interruption_loses_nothing(tiny: tune.Space, database: tune.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "BATCH", 4)
    bench = Bench(0)

    def interrupt(done: int, *_rest: Any) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(database, bench=bench, progress=interrupt)
    kept = len(tune.Database(database.path).trials(tiny, SHAPE))
    assert kept >= 5
    result = run(tune.Database(database.path))
    assert result.searched == 12 - kept and result.trials == 12


def test_trials_count_for_one_kernel_source_alone(tiny: tune.Space, database: tune.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.add(tiny, SHAPE, {(1, 64, 128, 128): 9000})
    assert tune.best("linear", SHAPE, database=database) == {"gm": 1, "bm": 64, "bn": 128, "bk": 128}
    monkeypatch.setattr(tune.Space, "source", lambda self: "of a newer kernel")
    assert tune.best("linear", SHAPE, database=database) is None
    assert database.trials(tiny, SHAPE) == {}


def test_the_database_joins_lines_and_names_a_damaged_one(tiny: tune.Space, database: tune.Database) -> None:
    database.add(tiny, SHAPE, {(1, 64, 128, 128): 9000, (1, 16, 128, 64): None})
    tune.Database(database.path).add(tiny, SHAPE, {(4, 64, 128, 128): 8000})
    assert database.best(Key.of(tiny, SHAPE)) == ({"gm": 4, "bm": 64, "bn": 128, "bk": 128}, 8000)
    assert database.count(Key.of(tiny, SHAPE)) == 3
    with database.path.open("a") as file:
        file.write('{"op": "linear"\n')
    with pytest.raises(tune.TuneError, match=r"tuned.jsonl:3: this line .* delete it"):
        database.keys()


def test_a_configuration_that_cannot_be_built_is_remembered_as_such(tiny: tune.Space, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(tiling: Any) -> Any:
        if tiling.bm == 16:
            raise ValueError("not this one")
        return tiny.make(tiling)

    monkeypatch.setitem(tune.spaces(), "linear", replace(tiny, make=make))
    monkeypatch.setattr(measure, "_built", {})
    bad, good = measure.measure("linear", [(1, 16, 128, 64), (1, 64, 128, 64)], [SHAPE])
    assert bad.cycles == (None,) and "not this one" in bad.error and good.cycles[0]


# ---- use


def test_compiling_takes_the_best_from_the_database(tiny: tune.Space, database: tune.Database) -> None:
    untuned = tune.spec("linear", SHAPE, database=database)
    database.add(tiny, SHAPE, {(4, 64, 128, 64): 7000, (1, 64, 128, 128): 9000})
    tuned = tune.spec("linear", SHAPE, database=database, name="mine")
    assert (untuned.config["gm"], tuned.config) == (1, {"gm": 4, "gn": 4, "bm": 64, "bn": 128, "bk": 64})
    executable = tune.compile("linear", SHAPE, database=database, name="mine")
    x, w = np.ones((256, 128), BF16), np.ones((256, 128), BF16)
    assert (testing.run(executable, "mine", x, w, np.zeros((256, 256), BF16), out=[2]) == 128).all()


def test_a_model_of_that_shape_takes_the_tuned_kernel(tiny: tune.Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tvm
    from tvm import relax

    from tvm_target.offload import library_kernels

    monkeypatch.setenv("RIGI_TUNED", str(tmp_path))
    tune.Database().add(tiny, SHAPE, {(4, 64, 128, 64): 7000})
    x, w = relax.Var("x", relax.TensorType((256, 128), "bfloat16")), relax.Var("w", relax.TensorType((256, 128), "bfloat16"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, w]):
        with builder.dataflow():
            y = builder.emit_output(builder.emit(relax.op.linear(x, w)))
        builder.emit_func_output(y)
    executable = tvm.compile(builder.finalize(), target="rigi1")
    assert library_kernels(executable) == {"linear_4_64_128_64": "linear"}
    device = tvm.device("ext_dev", 0)
    ones = [tvm.runtime.tensor(np.ones(shape, BF16), device) for shape in ((256, 128), (256, 128))]
    assert (relax.VirtualMachine(executable, device)["main"](*ones).numpy() == 128).all()


def test_trials_take_the_cycles_of_timed_mode(tiny: tune.Space) -> None:
    values = (2, 16, 128, 64)
    (trial,) = measure.measure("linear", [values], [SHAPE])
    assert sdk_sim.get_mode() == "timed"
    spec = tiny.spec(values)
    arrays = [np.ones(shape, BF16) for shape in ((256, 128), (256, 128), (256, 256))]
    assert trial.cycles == (testing.launch(compile_kernel(spec), spec.name, *arrays).cycles,)


def test_the_package_holds_what_the_benchmark_shows() -> None:
    from benchmarks.tune import EXHAUSTIVE, FURTHER

    database = tune.Database(packaged_path())  # whatever RIGI_TUNED says
    cases = [(op, tune.space_of(op).shape(sizes)) for op, sizes in [*EXHAUSTIVE, *FURTHER]]
    stale = [f"{op} {shape}" for op, shape in cases if tune.best(op, shape, database=database) is None]
    assert stale == [], "a kernel has changed: `rigi bench tune` searches these again"
    assert len(EXHAUSTIVE) == 12 and len(EXHAUSTIVE) + len(FURTHER) == 30


def test_shapes_and_ops_that_do_not_exist_are_named() -> None:
    space = tune.space_of("attention_decode")
    assert space.shape([1, 1000, 32, 8, 128]) == {"batch": 1, "kv": 1000, "heads": 32, "kv_heads": 8, "head_dim": 128, "page": 16}
    for given, message in (
        ({"batch": 1}, "kv, heads, kv_heads, head_dim missing"),
        ({"rows": 3}, "no size is named rows"),
        ([1] * 7, "7 sizes given"),
        ([0, 1, 1, 1, 32], "batch=0, but it is at least 1"),
    ):
        with pytest.raises(tune.TuneError, match=message):
            space.shape(given)
    with pytest.raises(tune.TuneError, match="ops with a space: linear, "):
        tune.space_of("conv")
    with pytest.raises(tune.TuneError, match="no packaged kernel takes batch=1 kv=5 heads=9 kv_heads=2"):
        space.packaged(space.shape([1, 5, 9, 2, 64]))


# ---- what may be chosen


def test_larger_tiles_than_a_slice_are_not_searched() -> None:
    space = tune.space_of("linear")
    shape = space.shape([64, 256, 512])
    assert space.worth((16, 16, 256, 512), shape) and space.worth((4, 16, 128, 64), shape)
    assert not any(space.worth(v, shape) for v in [(16, 64, 256, 512), (16, 16, 384, 512), (16, 16, 256, 1024), (1, 64, 256, 64)])


def test_a_kernel_is_known_by_its_structure() -> None:
    hashes = {space.source() for space in tune.spaces().values()}
    assert len(hashes) == len(tune.spaces())
    assert tune.space_of("linear").source() == replace(tune.space_of("linear")).source()


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(BF16)


def test_every_grid_of_cores_gives_the_same_bits(strict: None) -> None:
    space = tune.space_of("linear")
    x, w = random(1, 70, 200), random(2, 300, 200)
    results = []
    for gm in space.parameters["gm"]:
        spec = space.spec((gm, 16, 128, 64))
        results.append(testing.run(compile_kernel(spec), spec.name, x, w, np.zeros((70, 300), BF16), out=[2]))
    assert all((y == results[0]).all() for y in results)
    want = x.astype(np.float32) @ w.astype(np.float32).T
    np.testing.assert_allclose(results[0].astype(np.float32), want, rtol=2.0**-7, atol=1e-2)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, head_dim: int, prefix: int) -> np.ndarray:
    """Causal attention in fp32: q [t, heads * d] after `prefix` tokens, k and v [length, kv_heads * d]."""
    q, k, v = (a.astype(np.float32).reshape(len(a), -1, head_dim) for a in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat(group, 1), v.repeat(group, 1)
    scores = np.einsum("thd,lhd->htl", q, k) * head_dim**-0.5
    scores[:, np.arange(len(k)) > (np.arange(len(q)) + prefix)[:, None]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("htl,lhd->thd", weights / weights.sum(-1, keepdims=True), v).reshape(len(q), -1)


@pytest.mark.parametrize("values", [(64, 16384, 3), (512, 32768, 2)])
def test_decode_is_right_in_other_chunks(strict: None, values: tuple[int, ...]) -> None:
    space = tune.space_of("attention_decode")
    shape = space.shape({"batch": 2, "kv": 150, "heads": 6, "kv_heads": 3, "head_dim": 64})
    spec = space.spec(values)
    assert not space.misfit(space.config(values), shape)
    executable = compile_kernel(spec)
    check_sram(executable, space.config(values))
    q, caches, table = random(1, 2, 384), random(2, 2, 400, 192), np.random.default_rng(3).permutation(25)[:20].reshape(2, 10)
    slots = (table[:, :, None] * 16 + np.arange(16)).reshape(2, 160).astype(np.int32)
    floats = space.arguments(space.config(values), shape)[6].shape
    arguments = [q, *caches, slots, np.arange(2), np.full(2, 150), np.zeros(floats, np.float32), np.zeros_like(q), 64, 16, 0.125]
    out = testing.run(executable, spec.name, *arguments, out=[7])
    for i in range(2):
        k, v = (cache[slots[i, :150]] for cache in caches)
        np.testing.assert_allclose(out[i : i + 1].astype(np.float32), attend(q[i : i + 1], k, v, 64, 149), rtol=0.03, atol=0.01)


@pytest.mark.parametrize("values", [(64, 128, 32768, 3), (256, 256, 32768, 2)])
def test_extend_is_right_in_other_blocks(strict: None, values: tuple[int, ...]) -> None:
    space = tune.space_of("attention_extend")
    config, spec = space.config(values), space.spec(values)
    assert not space.misfit(config, space.shape({"seq": 200, "heads": 6, "kv_heads": 3, "head_dim": 64, "prefix": 75}))
    executable = compile_kernel(spec)
    check_sram(executable, config)
    q, caches = random(1, 200, 384), random(2, 2, 320, 192)
    slots = np.random.default_rng(3).permutation(320)[:275].astype(np.int32)[None]
    one = [np.array([n]) for n in (0, 75, 200, 0)]
    out = testing.run(executable, spec.name, q, *caches, slots, *one, np.zeros_like(q), 64, 1, 0.125, out=[8])
    k, v = (cache[slots[0]] for cache in caches)
    np.testing.assert_allclose(out.astype(np.float32), attend(q, k, v, 64, 75), rtol=0.03, atol=0.01)


def check_sram(executable: Any, config: Any) -> None:
    """The bytes that the space counts with are those of the kernel, but for the lines' rounding."""
    from tvm_target.runtime import manifest

    (kernel,) = manifest(executable.mod)["kernels"]
    assert 0 <= kernel["sram_bytes"] - config.sram_bytes < 2048


# ---- the command


def test_the_command_tunes_lists_and_returns_at_once(tiny: tune.Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIGI_TUNED", str(tmp_path))
    line = ["linear", "--shape", "m=256,n=256,k=128", "--processes", "0", "--json"]
    found = [json.loads(CliRunner().invoke(cli.tune, line).stdout)["results"][0] for _ in range(2)]
    listed = json.loads(CliRunner().invoke(cli.tune, ["--list", "--json"]).stdout)
    assert [f["searched"] for f in found] == [12, 0] and found[0]["cycles"] == found[1]["cycles"]
    (known,) = listed["tuned"]
    assert known["current"] and known["trials"] == 12 and known["cycles"] == found[0]["cycles"]
    assert listed["database"] == str(tmp_path / "rigi1-A0.jsonl")


@pytest.mark.parametrize(
    "line, words",
    [
        (["linear"], "name an op and a --shape"),
        (["linear", "--shape", "4k"], "write 4096,4096,4096"),
        (["linear", "--shape", "1,2"], "k missing"),
        (["linear", "--shape", "m=1,m=2,k=3"], "given twice"),
        (["linear", "--shape", "8,8,8", "--shape", "4,4"], "k missing"),
        (["attention_decode", "--shape", "1,100,32,32,80"], "head_dim=80 is no multiple of 32"),
        (["attention_decode", "--shape", "5000,100,4,4,64"], "batch=5000, attention_decode takes 1 to 2048"),
        (["linear", "--shape", "1,4,99999999999", "--processes", "0"], "cannot be timed: rigiMalloc"),
        (["conv", "--shape", "1,2"], "cannot be tuned"),
    ],
)
def test_the_command_says_what_is_wrong(line: list[str], words: str) -> None:
    run = CliRunner().invoke(cli.tune, line)
    assert run.exit_code and words in run.output


def test_the_benchmark_takes_shapes_from_the_command_line(tiny: tune.Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.tune import command

    monkeypatch.setenv("RIGI_TUNED", str(tmp_path))
    monkeypatch.setattr(measure, "Bench", lambda: Bench(0))
    line = ["--shape", "linear:256,256,128", "--shape", "linear:m=16,n=256,k=128", "--trials", "4", "--json"]
    result = json.loads(CliRunner().invoke(command, line).stdout)
    assert [row["shape"]["m"] for row in result["exhaustive_shapes"]] == [256, 16] and len(result["shapes"]) == 2
    assert all(row["trials"] == 4 and row["configurations"] == 12 for row in result["exhaustive_shapes"])
    assert result["worst_ratio"] <= 1 and result["second_run_searches"] == 0
    wrong = CliRunner().invoke(command, ["--shape", "256,256,128"])
    assert wrong.exit_code and "write OP:SIZES" in wrong.output


@pytest.mark.slow
def test_workers_find_what_one_process_finds(tmp_path: Path) -> None:
    """The whole space of `linear`, searched by two processes; then everything again from the database, and the best anew."""
    from benchmarks.tune import measure as bench

    result = bench(
        [("linear", (64, 384, 384))], [("attention_extend", (128, 9, 3, 64))], 24, lambda *_: None, tune.Database(tmp_path / "t.jsonl")
    )
    assert result["second_run_searches"] == 0 and 24 < result["searched"] <= 48
    assert 0.9 < result["worst_ratio"] <= 1 and all(row["gain"] >= 1 for row in result["shapes"])
