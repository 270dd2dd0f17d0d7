"""A QRNN layer learns to remember. Needs torch.

The task: twenty numbers, one of which is marked; say at the end which one it was. The layer has to
keep that number past all that follow it and to ignore the others.
"""

from __future__ import annotations

import sys

try:
    import torch
except ModuleNotFoundError:
    sys.exit("this example needs torch: pip install '.[train]'")

from pqrnn_native import nn
from pqrnn_native.nn import functional


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)

    # The bare recurrence h[t] = f[t] * h[t-1] + x[t], with gradients.
    f = torch.full((1, 4, 1), 0.5, requires_grad=True)
    h = functional.forget_mult(f, torch.ones(1, 4, 1))
    print("scan:", h.flatten().tolist())  # 1, 1.5, 1.75, 1.875

    layer = nn.QRNN(2, 32, batch_first=True)
    readout = torch.nn.Linear(32, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.02)
    for step in range(401):
        numbers, marks = torch.randn(64, 20), torch.zeros(64, 20)
        marked = torch.randint(20, (64,))
        marks[torch.arange(64), marked] = 1
        output, _ = layer(torch.stack([numbers, marks], dim=2))
        wanted = numbers[torch.arange(64), marked]
        loss = (readout(output[:, -1]).squeeze(1) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: mean squared error {loss.item():.3f}")


if __name__ == "__main__":
    main()
