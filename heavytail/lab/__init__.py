"""From a `Run` to a row of a table: data sets, engines, the trainer, sweeps and simulations."""

from heavytail import _require

_require("lab", "tqdm", "pandas", "pyarrow", "safetensors")
