"""What the torch that is here saves, scanned.

    python saved.py DIRECTORY PICKLET

State dicts of models and optimizers, checkpoints, tensors of every numeric type and the like are
clean, in the zip format and in the one before it, in protocol 2 and in others; whole modules, whose
classes no policy can know, and kinds of tensors that the policy does not list are suspicious, and
never dangerous.
"""

import json
import pathlib
import subprocess
import sys
import warnings

import torch

warnings.simplefilter("ignore")

TYPES = [
    "float16", "float32", "float64", "bfloat16", "uint8", "int8", "int16", "int32", "int64", "bool",
    "complex64", "complex128", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip


def values():
    """Gives names, what to save, and whether it is to be clean."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Embedding(4, 2))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers = [
        torch.optim.Adam(model.parameters(), amsgrad=True),
        torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        torch.optim.RMSprop(model.parameters()),
    ]
    for optimizer in optimizers:
        optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizers[0], 3)
    base = torch.arange(6.0)
    yield "model", model.state_dict(), True
    yield "half", model.half().state_dict(), True
    for number, optimizer in enumerate(optimizers):
        yield f"optimizer{number}", optimizer.state_dict(), True
    yield "schedule", schedule.state_dict(), True
    checkpoint = {"model": model.state_dict(), "optimizer": optimizers[0].state_dict(), "epoch": 3}
    yield "checkpoint", checkpoint, True
    yield "shared", [base, base[1:], base.view(3, 2).t()], True
    yield "conjugate", torch.zeros(2, dtype=torch.complex64).conj(), True
    yield "parameter", torch.nn.Parameter(torch.ones(2)), True
    yield "sizes", [torch.Size([1, 2]), torch.device("cpu"), torch.float32], True
    yield "random state", torch.Generator().get_state(), True
    yield "nothing", {}, True
    for name in TYPES:
        if hasattr(torch, name):
            yield name, torch.zeros(3).to(getattr(torch, name)), True
    yield "sparse", torch.eye(3).to_sparse(), False
    yield "quantized", torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), False
    yield "module", model, False


def main():
    folder, program = pathlib.Path(sys.argv[1]), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, value, clean in values():
        for protocol in (2, 4):
            for new in (True, False):
                path = folder / f"{name} {protocol}{'' if new else ' legacy'}.pt"
                torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
                expected[str(path)] = "clean" if clean else "suspicious"
    ran = subprocess.run([program, "scan", "--format", "json", *expected], capture_output=True, check=False)
    report = json.loads(ran.stdout)
    wrong = []
    for file in report["files"]:
        if file["verdict"] != expected[file["path"]] or file["added_policies"] != ["torch"]:
            wrong.append(f"{file['path']}: {file['verdict']}")
            wrong += [f"    {one['reason']}" for one in file["findings"][:3]]
    print(f"torch {torch.__version__}: {len(expected)} files saved and scanned")
    if wrong or len(report["files"]) != len(expected):
        sys.exit("\n".join(["not as expected:", *wrong]))


if __name__ == "__main__":
    main()
