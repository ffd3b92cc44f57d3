"""Writes optimizers.json and schedules.json beside itself: what torch and transformers compute.

    python make_expected.py

needs torch and transformers 5.23 or later.

optimizers.json: weights of three shapes, a gradient of each for five steps, and for each case the weights
after every step. Weight decay reaches tensors of two or more dimensions only. Arrays are flat, in row-major order.

schedules.json: for each case the factor on the peak rate at steps 1 to total: transformers' lambda at the number
of the step.
"""

import json
import pathlib

import torch
from transformers import get_scheduler
from transformers.optimization import Adafactor

HERE = pathlib.Path(__file__).parent
STEPS = 5
SHAPES = {"matrix": [3, 4], "vector": [5], "cube": [2, 3, 4]}

OPTIMIZERS = [
    dict(name="adamw", kind="adamw", lr=1e-2, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.1),
    dict(name="adamw, large eps", kind="adamw", lr=3e-2, beta1=0.8, beta2=0.95, eps=1e-2, weight_decay=0.0),
    dict(name="adamw, no momentum", kind="adamw", lr=1e-2, beta1=0.0, beta2=0.99, eps=1e-8, weight_decay=0.01),
    dict(name="adafactor, fixed rate", kind="adafactor", lr=1e-2, weight_decay=0.1),
    dict(name="adafactor, relative step", kind="adafactor", relative_step=True, weight_decay=0.0),
    dict(name="adafactor, relative step and decay", kind="adafactor", relative_step=True, weight_decay=0.5),
    dict(name="sgd", kind="sgd", lr=0.1, weight_decay=0.0),
    dict(name="sgd with decay", kind="sgd", lr=0.1, weight_decay=0.1),
]


def optimizer(case, weights):
    kind, decay = case["kind"], case["weight_decay"]
    groups = [
        dict(params=[w for w in weights if w.dim() >= 2], weight_decay=decay),
        dict(params=[w for w in weights if w.dim() < 2], weight_decay=0.0),
    ]
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=case["lr"], betas=(case["beta1"], case["beta2"]), eps=case["eps"])
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=case["lr"])
    relative = case.get("relative_step", False)
    return Adafactor(
        groups, lr=case.get("lr"), beta1=None, relative_step=relative, scale_parameter=relative, warmup_init=False
    )


def flat(tensors):
    return {name: t.detach().flatten().tolist() for name, t in zip(SHAPES, tensors)}


def optimizers():
    torch.manual_seed(0)
    initial = [torch.randn(shape) for shape in SHAPES.values()]
    initial[2] *= 1e-5  # smaller than the size that Adafactor takes a weight to have at least
    # Rows of very different sizes, an entry that is never touched, and a step without any gradient.
    gradients = [[torch.randn(shape) for shape in SHAPES.values()] for _ in range(STEPS)]
    for step, (matrix, vector, cube) in enumerate(gradients):
        matrix[0] *= 100
        vector[3] = 0
        cube *= 1e-3
        if step == 2:
            matrix.zero_()
    cases = []
    for case in OPTIMIZERS:
        weights = [torch.nn.Parameter(w.clone()) for w in initial]
        o = optimizer(case, weights)
        after = []
        for step in gradients:
            for w, g in zip(weights, step):
                w.grad = g.clone()
            o.step()
            after.append(flat(weights))
        cases.append(dict(case, weights=after))
    return dict(shapes=SHAPES, initial=flat(initial), gradients=[flat(g) for g in gradients], cases=cases)


# ours, then transformers' name and what is particular to it
SCHEDULES = [
    (dict(kind="constant", warmup_steps=3), "constant_with_warmup", {}),
    (dict(kind="constant", warmup_steps=0), "constant_with_warmup", {}),
    (dict(kind="linear", warmup_steps=4), "linear", {}),
    (dict(kind="linear", warmup_steps=0), "linear", {}),
    (dict(kind="linear", warmup_steps=4, final_ratio=0.25), "polynomial", dict(power=1.0, lr_end=0.25)),
    (dict(kind="cosine", warmup_steps=4), "cosine", {}),
    (dict(kind="cosine", warmup_steps=0), "cosine", {}),
    (dict(kind="cosine", warmup_steps=4, final_ratio=0.1), "cosine_with_min_lr", dict(min_lr_rate=0.1)),
    (dict(kind="inverse_sqrt", warmup_steps=4), "inverse_sqrt", {}),
    (dict(kind="inverse_sqrt", warmup_steps=0), "inverse_sqrt", {}),
]


def schedules(total=20):
    cases = []
    for ours, name, extra in SCHEDULES:
        o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        s = get_scheduler(
            name, o, num_warmup_steps=ours["warmup_steps"], num_training_steps=total, scheduler_specific_kwargs=extra
        )
        factor = s.lr_lambdas[0]
        cases.append(dict(ours, total=total, factors=[factor(step) for step in range(1, total + 1)]))
    return cases


def write(name, value):
    text = json.dumps(value, separators=(",", ":")).replace("},{", "},\n{")
    (HERE / name).write_text(text + "\n")


write("optimizers.json", optimizers())
write("schedules.json", schedules())
