"""Where training runs: devices, precisions, several of them in one process; processes that train as one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import CONFIG, VALIDATION, flat, network, on_validation, train
from samples import make_paired
from torch import nn

from mfh import InputError, PairedDataset, TrainConfig
from mfh.training.device import Processes, make_accelerator, synchronised
from mfh.training.evaluate import predict


def test_fits_of_one_process_may_differ_in_precision(paired: PairedDataset) -> None:
    seen: list[torch.dtype] = []
    model = network()
    model[2].register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
    before = train(paired)
    half = train(paired, model, config=replace(CONFIG, precision="bf16"))
    after = train(paired)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in half.model.parameters()} == {torch.float32}
    assert before.history[-1].loss == after.history[-1].loss
    assert 0 < abs(half.history[-1].loss - before.history[-1].loss) < 0.02
    seen.clear()
    predict(half.model, paired, "audio", VALIDATION)
    assert set(seen) == {torch.float32}, "the network itself computes as it did before"


def test_an_accelerator_made_before_keeps_its_settings(paired: PairedDataset) -> None:
    mine = make_accelerator(replace(CONFIG, precision="bf16"))
    train(paired)
    assert mine.mixed_precision == "bf16"
    assert make_accelerator(CONFIG).mixed_precision == "no"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"precision": "fp16"}, "`precision` fp16 needs an accelerator"),
        ({"device": "nonsense"}, "`device` 'nonsense' cannot be used here"),
        ({"tracker": "tensorboard"}, "`tracker` `tensorboard` needs a folder"),
    ],
)
def test_what_is_not_here_is_refused(paired: PairedDataset, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        train(paired, config=replace(CONFIG, **changes))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_an_absent_accelerator_is_refused(paired: PairedDataset) -> None:
    with pytest.raises(InputError, match="`device` 'cuda' cannot be used here"):
        train(paired, config=replace(CONFIG, device="cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_trains_on_an_accelerator(paired: PairedDataset, precision: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no accelerator")
    config = replace(CONFIG, device="cuda", precision=precision, clip=1.0)
    result = train(paired, config=config, score=on_validation(paired))
    expected = train(paired, config=replace(CONFIG, clip=1.0), score=on_validation(paired))
    assert result.history[-1].loss == pytest.approx(expected.history[-1].loss, rel=0.03)


def test_batch_normalisation_is_synchronised_on_cuda_and_given_back() -> None:
    model = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), nn.BatchNorm2d(2))
    layers = list(model.modules())
    with synchronised(model, Processes(0, 2, torch.device("cpu"))):
        assert list(model.modules()) == layers
    with synchronised(model, Processes(0, 2, torch.device("cuda"))):
        assert [type(m) for m in model.modules()].count(nn.SyncBatchNorm) == 2
        assert model[1].weight is layers[-1].weight
    assert list(model.modules()) == layers


# --- several processes

SCRIPT = """
import json, sys
from dataclasses import replace
import torch
sys.path.insert(0, {tests!r})
from fits import CONFIG, TRAIN, VALIDATION, flat, network
from samples import make_paired
from mfh.training.device import Processes
from mfh._formulas import accuracy
from mfh.training.evaluate import predict
from mfh.training.loop import fit
from mfh.training.objectives import Distill

data = make_paired()
labels = data.label[VALIDATION]
calls = 0

def score(model):
    return accuracy(predict(model, data, "audio", VALIDATION, shared=True), labels)

def objective(outputs, batch):
    global calls
    calls += 1
    if calls > {calls}:
        raise KeyboardInterrupt
    return Distill()(outputs, batch)

result = fit(network(dropout={dropout}), data, objective, modalities=("audio",), train=TRAIN, seed=5,
             config=replace(CONFIG, batch_size=37, epochs=4, micro_batch={micro}, device={device!r}),
             score=score, checkpoint={folder!r}, save_every=0.0)
processes = Processes.on(torch.device("cpu"))
told = dict(loss=[e.loss for e in result.history], validation=[e.validation for e in result.history],
            weights=flat(result.model).tolist(), count=processes.count)
open({out!r} + str(processes.rank), "w").write(json.dumps(told))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def launch(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    """What two processes tell that train together; nothing where they were stopped."""
    values = {"calls": 1000, "dropout": 0.0, "micro": None, "device": "cpu", "folder": str(folder)} | changes
    script, out = folder.with_suffix(".py"), str(folder) + "-told-"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parents[1] / "helpers"), out=out, **values))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    done = subprocess.run([*command, str(script)], capture_output=True, text=True, timeout=240, check=False)
    if "calls" in changes:
        assert "KeyboardInterrupt" in done.stderr
        return []
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(Path(f"{out}{rank}").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("micro", "device"), [(None, "cpu"), (7, "auto")])
def test_two_processes_train_as_one(tmp_path: Path, micro: int | None, device: str) -> None:
    if device == "auto" and torch.cuda.is_available():
        pytest.skip("auto takes accelerators here")
    data = make_paired()
    config = replace(CONFIG, batch_size=37, epochs=4)  # the last batch of an epoch holds 2 samples
    alone = train(data, config=config, score=on_validation(data))
    told = launch(tmp_path / "two", micro=micro, device=device)
    assert [one["count"] for one in told] == [2, 2]
    for one in told:
        assert one["loss"] == pytest.approx([epoch.loss for epoch in alone.history], abs=1e-5)
        assert one["validation"] == [epoch.validation for epoch in alone.history]
        torch.testing.assert_close(torch.tensor(one["weights"]), flat(alone.model), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_to_the_last_bit(tmp_path: Path) -> None:
    expected = launch(tmp_path / "whole", dropout=0.3)
    folder = tmp_path / "stopped"
    launch(folder, dropout=0.3, calls=13)
    assert (folder / "previous.safetensors").exists()
    assert launch(folder, dropout=0.3) == expected
    assert {path.name for path in folder.iterdir()} == {"best.safetensors", "last.safetensors"}
    assert launch(folder, dropout=0.3) == expected, "a finished training is read, by every process"


def test_a_package_that_the_environment_demands_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(InputError, match=r"ACCELERATE_USE_DEEPSPEED.*not installed.*Unset it"):
        make_accelerator(TrainConfig(device="cpu"))
