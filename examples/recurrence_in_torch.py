"""A QRNN layer learns to remember the first element of a sequence. Needs torch.

The task: sequences of ten numbers, of which only the first one counts. A recurrence has to keep it
past nine others, which a plain average cannot.
"""

from __future__ import annotations

import sys

try:
    import torch
except ModuleNotFoundError:
    sys.exit("this example needs torch: pip install '.[train]'")

from pqrnn_native.nn import functional

from pqrnn_native import nn


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)

    # The bare recurrence h[t] = f[t] * h[t-1] + x[t], with gradients.
    f = torch.full((1, 4, 1), 0.5, requires_grad=True)
    h = functional.forget_mult(f, torch.ones(1, 4, 1))
    print("scan:", h.flatten().tolist())  # 1, 1.5, 1.75, 1.875

    layer = nn.QRNN(1, 16, batch_first=True)
    readout = torch.nn.Linear(16, 1)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.02)
    for step in range(301):
        x = torch.randn(64, 10, 1)
        output, _ = layer(x)
        loss = (readout(output[:, -1]) - x[:, 0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}: mean squared error {loss.item():.3f}")


if __name__ == "__main__":
    main()
