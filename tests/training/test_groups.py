"""Groups of parameters: who gets which rate and decay, what stays frozen, and what cannot be asked for."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from checks import complaint
from places import TINY
from stop_callback import Stopped
from vo3d.cli import main
from vo3d.errors import Vo3dError
from vo3d.optim import SGD
from vo3d.training.groups import GroupRule, build_optimizer, freeze, groups_of, keep_rates, weights_of


class Net(nn.Module):
    """A trunk with every kind of parameter, and a head whose weight is that of the trunk's last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Linear(4, 4, bias=False))
        self.still = nn.BatchNorm1d(4, affine=False)
        self.memory = nn.GRUCell(4, 4)
        self.head = nn.Linear(4, 4)
        self.head.weight = self.trunk[3].weight


def names_by_setting(net: nn.Module, rules: list[GroupRule]) -> dict[str, set[str]]:
    names = {parameter: name for name, parameter in net.named_parameters()}
    return {group.name: {names[each] for each in group.parameters} for group in groups_of(net, rules)}


def test_every_parameter_is_in_one_group_by_the_last_rule_that_speaks_of_it() -> None:
    rules = [
        GroupRule(match=r"trunk\..*", rate=0.1),
        GroupRule(kind="bias", weight_decay=0.0),
        GroupRule(kind="norm", weight_decay=0.0),
        GroupRule(match=r"trunk\.2\.weight", weight_decay=0.5),
        GroupRule(match=r"head\.weight", rate=2.0),  # one of the two names of a shared parameter
    ]
    assert names_by_setting(Net(), rules) == {
        "rate_0.1": {"trunk.0.weight"},
        "rate_0.1-no_decay": {"trunk.0.bias", "trunk.1.weight", "trunk.1.bias", "trunk.2.bias"},
        "rate_0.1-decay_0.5": {"trunk.2.weight"},
        "rate_2": {"trunk.3.weight"},
        "rest": {"memory.weight_ih", "memory.weight_hh"},
        "no_decay": {"memory.bias_ih", "memory.bias_hh", "head.bias"},
    }
    assert [len(group.parameters) for group in groups_of(Net(), [])] == [12]


def test_a_group_steps_as_an_optimiser_of_its_own() -> None:
    torch.manual_seed(0)
    net, twin = Net(), Net()
    twin.load_state_dict(net.state_dict())
    rules = [GroupRule(match=r"trunk\..*", rate=0.1), GroupRule(kind="bias", weight_decay=0.0)]
    ours, rates = build_optimizer(lambda some: torch.optim.SGD(some, lr=0.5, weight_decay=0.1), net, rules)
    assert sorted(rates) == [0.1, 0.1, 1.0, 1.0]
    for left, right in zip(net.parameters(), twin.parameters(), strict=True):
        left.grad = torch.randn_like(left)
        right.grad = left.grad.clone()
    ours.step()
    for name, parameter in twin.named_parameters():
        last = name.rpartition(".")[2]
        decay = 0.0 if last.startswith("bias") and name not in {"trunk.1.bias", "trunk.2.bias"} else 0.1
        torch.optim.SGD([parameter], lr=0.05 if name.startswith("trunk") else 0.5, weight_decay=decay).step()
    for (name, left), right in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(left, right), name


def test_the_head_alone_learns_and_the_trunk_keeps_its_statistics() -> None:
    net = Net()
    resting = freeze(net, [GroupRule(freeze=True), GroupRule(match=r"head\.bias", freeze=False)])
    assert [name for name, parameter in net.named_parameters() if parameter.requires_grad] == ["head.bias"]
    assert resting == [net.trunk[1], net.still]
    optimizer, rates = build_optimizer(torch.optim.LBFGS, net, [])
    assert optimizer.param_groups[0]["params"] == [net.head.bias]
    assert rates == [1.0]
    assert weights_of(net) == []


@pytest.mark.parametrize(
    ("rule", "resting"),
    [
        (GroupRule(match=r"trunk\.1\.weight", freeze=True), []),
        (GroupRule(match=r"trunk\.1\..*", freeze=True), ["trunk.1"]),
        (GroupRule(kind="norm", freeze=True), ["trunk.1", "still"]),
        (GroupRule(kind="bias", freeze=True), []),
    ],
)
def test_statistics_rest_where_nothing_of_their_layer_learns(rule: GroupRule, resting: list[str]) -> None:
    net = Net()
    names = {module: name for name, module in net.named_modules()}
    assert [names[module] for module in freeze(net, [rule])] == resting


def test_weights_are_neither_biases_nor_norms() -> None:
    net = Net()
    names = {parameter: name for name, parameter in net.named_parameters()}
    expected = ["trunk.0.weight", "trunk.3.weight", "memory.weight_ih", "memory.weight_hh"]
    assert [names[parameter] for parameter in weights_of(net)] == expected


Schedule = Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler]


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=12),
        lambda optimizer: torch.optim.lr_scheduler.CyclicLR(optimizer, 0.01, 0.2, step_size_up=3),
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2),
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12),
        torch.optim.lr_scheduler.LinearLR,
    ],
)
def test_schedules_scale_all_groups_alike(schedule: Schedule) -> None:
    rules = [GroupRule(match=r"trunk\..*", rate=0.1)]
    net, alone = Net(), Net()
    optimizer, rates = build_optimizer(lambda some: torch.optim.SGD(some, lr=0.5, momentum=0.5), net, rules)
    other, _ = build_optimizer(lambda some: torch.optim.SGD(some, lr=0.5, momentum=0.5), alone, [])
    ours, theirs = schedule(optimizer), schedule(other)
    keep_rates(optimizer, ours, rates)
    seen = []
    for _ in range(10):
        seen.append(other.param_groups[0]["lr"])
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            assert group["lr"] == pytest.approx(rate * seen[-1], rel=1e-9)
        for each in (optimizer, other, ours, theirs):
            each.step()
    assert len(set(seen)) > 3


def test_a_schedule_that_makes_the_rates_equal_is_refused() -> None:
    optimizer, rates = build_optimizer(
        lambda some: torch.optim.SGD(some, lr=0.5, momentum=0.5), Net(), [GroupRule(match=r"trunk\..*", rate=0.1)]
    )
    inner = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=12)
    outer = torch.optim.lr_scheduler.SequentialLR(optimizer, [inner], [])
    with pytest.raises(Vo3dError, match="SequentialLR gives all groups one rate"):
        keep_rates(optimizer, outer, rates)


def test_a_schedule_that_gives_plain_descent_a_momentum_is_refused() -> None:
    def schedule(**options: bool) -> None:
        optimizer, rates = build_optimizer(lambda some: SGD(some, lr=0.5), Net(), [])
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.3, total_steps=12, **options)
        keep_rates(optimizer, cycle, rates)
        assert optimizer.param_groups[0]["momentum"] == 0

    schedule(cycle_momentum=False)
    with pytest.raises(Vo3dError, match="OneCycleLR gives SGD a momentum"):
        schedule()


@pytest.mark.parametrize(
    ("make", "rules", "expected"),
    [
        (torch.optim.LBFGS, [GroupRule(kind="bias", rate=0.1)], "LBFGS takes all parameters in one group"),
        (torch.optim.Rprop, [GroupRule(kind="bias", weight_decay=0.1)], "Rprop has no weight_decay"),
        (lambda some: torch.optim.SGD(some, lr=-1.0), [], "refuses its settings: Invalid learning rate: -1.0"),
        (lambda some: torch.optim.SGD(some, lr=-1.0), [GroupRule(kind="bias", rate=0.1)], "Invalid learning rate"),
    ],
)
def test_what_an_optimiser_cannot_do_is_told(
    make: Callable[..., torch.optim.Optimizer], rules: list[GroupRule], expected: str
) -> None:
    with pytest.raises(Vo3dError, match=expected):
        build_optimizer(make, Net(), rules)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            r'[{"match": "laers\\.0\\..*", "rate": 0.1}]',
            r"no parameter of TinyModel is named 'laers\.0\..*': expected a regular expression for whole names such as "
            "layers.0.",
        ),
        ('[{"kind": "norm", "rate": 0.1}]', "no parameter of kind norm"),
        ('[{"kind": "biass"}]', "model.groups.kind: found 'biass', expected one of any, bias, norm, weight"),
        ('[{"kind": "bias", "rate": -0.1}]', "rate -0.1 for '.*': expected a factor above 0"),
        ('[{"kind": "bias", "rate": 0}]', "or freeze: true"),
        ('[{"kind": "bias", "weight_decay": -1}]', "weight_decay -1.0"),
        ('[{"match": "("}]', "match '(' is no regular expression"),
        ('[{"freeze": true}]', "model.groups freezes all parameters of TinyModel"),
        ('[{"rates": 1}]', "rates"),
    ],
)
def test_a_wrong_rule_is_one_line(
    rules: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert expected in complaint(capsys, "fit", "-c", TINY, "--out", tmp_path, "--model.groups", rules)


RULES = r'[{"match": "layers\\.0\\..*", "rate": 0.1}, {"kind": "bias", "weight_decay": 0.0}]'
SCHEDULE = [
    *("--model.scheduler", "torch.optim.lr_scheduler.StepLR", "--model.scheduler.step_size", "1"),
    *("--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", "0.01"),
]


def fit(folder: Path, *more: str) -> int:
    return main(["fit", "-c", str(TINY), "--out", str(folder), "--model.groups", RULES, *SCHEDULE, *more])


def test_curves_show_each_group_by_name_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert fit(whole) == 0
    with (whole / "history.csv").open(newline="") as file:
        rates = [(row["name"], float(row["value"])) for row in csv.DictReader(file) if row["name"].startswith("lr-")]
    first, last = dict(rates[:4]), dict(rates[-4:])
    expected = {"rate_0.1": 0.001, "rate_0.1-no_decay": 0.001, "rest": 0.01, "no_decay": 0.01}
    assert first == pytest.approx({f"lr-AdamW/{name}": rate for name, rate in expected.items()})
    assert last == pytest.approx({name: 0.1 * rate for name, rate in first.items()})
    with pytest.raises(Stopped):
        fit(cut, "--checkpoint_every", "4", "--trainer.callbacks+=stop_callback.Stop", "--trainer.callbacks.step=14",
            "--trainer.callbacks.kill=false")  # fmt: skip
    assert fit(cut, "--checkpoint_every", "4", "--ckpt_path", "last") == 0
    ours, theirs = (torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (cut, whole))
    assert ours["global_step"] == theirs["global_step"] == 18
    for name, tensor in theirs["state_dict"].items():
        assert torch.equal(ours["state_dict"][name], tensor), name


def test_rules_come_from_yaml_and_frozen_parts_do_not_move(trained: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(TINY.read_text())
    config["model"]["groups"] = [{"freeze": True}, {"match": r"layers\.3\..*", "freeze": False}]
    config["model"]["init_weights"] = str(trained / "checkpoints" / "last.ckpt")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "-c", str(tmp_path / "rules.yaml"), "--out", str(tmp_path / "run")]) == 0
    before, after = (
        torch.load(f / "checkpoints" / "last.ckpt", weights_only=True) for f in (trained, tmp_path / "run")
    )
    moved = [name for name, was in before["state_dict"].items() if not torch.equal(after["state_dict"][name], was)]
    assert moved == ["net.layers.3.weight", "net.layers.3.bias"]
