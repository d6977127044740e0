"""Every method's training pass on a GPU that is on paper alone: devices agree, nothing is read back, nothing sent.

Fake tensors have a device, a type and a shape but no values: tensors of two devices in one operation, and every reading
of a value into Python, which on a GPU would make the host wait, raise. So does sending one there, but for the batch
itself: that waits too, until the GPU has done all before. Neither the backward pass nor autocast works on paper.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mdistiller_icc.data.augment import Augmentation, apply, draw
from mdistiller_icc.engine.evaluate import evaluate
from mdistiller_icc.icc import weight
from mdistiller_icc.plugin import register
from mdistiller_icc.run import configure

pytestmark = pytest.mark.skipif(
    torch.__version__ < "2.14" or not torch.backends.cuda.is_built(),
    reason="older builds (seen with torch 2.6) abort at a convolution on paper, others know no CUDA",
)
IMAGES, BATCH = 200, 8
METHODS = [
    "NONE", "KD", "AT", "OFD", "RKD", "FITNET", "KDSVD", "CRD", "NST", "PKT", "SP", "VID", "REVIEWKD", "DKD",
    "ICCKD", "CKD", "BICKD", "PCKD", "DIST", "CTKD", "MLKD", "TTM", "WTTM", "NKD", "RLD", "SDD", "CRLD", "DTKD", "GDKD",
    "NORMKD", "SIMKD", "CATKD", "WKD", "KDPP",
]  # fmt: skip


class Loader:
    num_data = IMAGES

    def views(self, index, rows=slice(None)):
        return torch.empty(len(index[rows]), 3, 32, 32, device=index.device)


class NothingSent(TorchDispatchMode):
    """Refuses every operation that carries values from the host to the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.is_cuda:
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            # A single number takes part in arithmetic as an argument of the kernel, without being copied first.
            copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
            assert all(leaf.is_cuda or not (leaf.dim() or copies) for leaf in given), f"{func} sends to the device"
        return made


def on_paper(module):
    """Give ``module`` parameters and buffers that lie on a GPU, without values."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    moved = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                    grows = isinstance(tensor, nn.Parameter)
                    held[name] = nn.Parameter(moved, requires_grad=tensor.requires_grad) if grows else moved


def losses(name, *options):
    """The losses of two training passes of a method."""
    host = register(verbose=False).host
    cfg = configure(None, [
        "DISTILLER.TYPE", name, "DISTILLER.STUDENT", "resnet8", "DISTILLER.TEACHER", "resnet20",
        "SOLVER.TRAINER", {"CRD": "crd", "ICC": "icc"}.get(name, "base"), "CRD.NCE.K", "64", *options,
    ])  # fmt: skip
    student, teacher = (host.cifar_model_dict[kind][0](num_classes=100) for kind in ("resnet8", "resnet20"))
    made = host.distiller_dict[name]
    given = {"student": student, "teacher": None if name == "ICC" else teacher, "cfg": cfg, "num_data": IMAGES}
    taken = inspect.signature(made.__init__).parameters
    method = made(**{key: value for key, value in given.items() if key in taken})
    if name == "ICC":
        method.attach(Loader())
    if getattr(method, "teacher", None) is not None:
        # Batch norms are folded once, where values show that it may be done; a teacher with hooks runs as it is.
        method.teacher.register_forward_hook(lambda *_: None)
    if name == "CRD":
        method.contrast._normalised = True  # waits in the first two steps of a run
    with FakeTensorMode():
        on_paper(method)
        method.train()
        label = torch.zeros(BATCH, dtype=torch.long, device="cuda")
        image, strong = (torch.empty(BATCH, 3, 32, 32, device="cuda") for _ in range(2))
        batch = {"image": image, "strong": strong, "target": label, "index": label}
        with NothingSent():
            for _ in range(2):
                told = method(**batch, epoch=1)[1]
    return told


def check(told):
    assert {(loss.device.type, loss.dtype, loss.dim()) for loss in told.values()} == {("cuda", torch.float32, 0)}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_reads_nothing_back(name):
    check(losses(name))


def test_no_method_is_left_out():
    assert {"ICC", *METHODS} == set(register(verbose=False).host.distiller_dict)


@pytest.mark.parametrize("mode", ["fixed", "gradnorm"])
@pytest.mark.parametrize("policy", ["clear", "slide"])
@pytest.mark.parametrize("positive", ["memory", "twin"])
def test_the_recipe_reads_nothing_back(positive, policy, mode, monkeypatch):
    # What `gradnorm` walks back cannot be on paper; all that is done with the gradient can.
    monkeypatch.setattr(weight.torch.autograd, "grad", lambda loss, feature, **_: (feature * loss,))
    check(losses("ICC", "ICC.POSITIVE", positive, "ICC.QUEUE.POLICY", policy, "ICC.WEIGHT_MODE", mode))


def test_view_reads_back_how_many_views_the_next_batch_gets():
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException), match="nonzero|argwhere"):
        losses("ICC", "ICC.POSITIVE", "view")


def test_evaluation_waits_at_its_end_alone():
    network, taken = register(verbose=False).host.cifar_model_dict["resnet8"][0](num_classes=100).eval(), []
    with FakeTensorMode():
        on_paper(network)
        images = torch.empty(BATCH, 3, 32, 32, device="cuda")
        label = torch.zeros(BATCH, dtype=torch.long, device="cuda")
        loader = (taken.append(number) or (images, label) for number in range(3))
        with NothingSent(), pytest.raises(DataDependentOutputException):
            evaluate(lambda image: network(image)[0], loader, label.device)
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("send", [
    lambda: torch.tensor([1.0], device="cuda"), lambda: torch.tensor(1.0).to("cuda"), lambda: torch.ones(3).to("cuda"),
    lambda: torch.empty(3, device="cuda")[torch.tensor([0, 1])],
])  # fmt: skip
def test_sending_is_seen(send):
    with FakeTensorMode(), NothingSent(), pytest.raises(AssertionError, match="sends to the device"):
        send()


def test_augmentation_reads_nothing_back():
    numbers, everything = torch.Generator().manual_seed(0), Augmentation(degrees=20.0, padding=4, flip=True)
    with FakeTensorMode(allow_non_fake_inputs=True):
        draws = draw(everything, BATCH, numbers).to(torch.device("cuda"))
        images = apply(torch.empty(BATCH, 3, 32, 32, dtype=torch.uint8, device="cuda"), everything, draws)
    assert images.shape == (BATCH, 3, 32, 32) and images.device.type == "cuda" and images.dtype == torch.uint8
